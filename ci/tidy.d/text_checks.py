"""The checks that read lines: `columns`, `length`, `openings` and `types`."""

import re

import rust
from tree import Problem

COLUMNS = 100
LINES_REFUSED = 600
LINES_EXPLAINED = 500
HEADER_LINES = 40

URL = re.compile(r"https?://[^\s<>\"`]+")
TABLE_ROW = re.compile(r"\s*(?://[/!])?\s*\|")
REASON = re.compile(r"\W*Length: +\S")

COMMENT = re.compile(r"\s*(?://[/!]?|#(?!!)|/\*+|\"\"\")(?P<text>.*)")
OPENING = re.compile(r" ?(Who|What|Whoever|Whatever|Somebody|Nobody|There)\b")
# Files that had such comments when the check was written, one path a line. It may only shrink.
KNOWN_OPENINGS = "ci/ratchet/openings"


def _has_ending(path, endings):
    """Returns whether a path has an ending, or is a command in `ci`, which has no ending."""
    return path.endswith(endings) or (path.startswith("ci/") and "." not in path.split("/")[-1])


def columns(tree):
    """Refuses lines that are too long, except URLs and rows of tables in Markdown."""
    problems = []
    for path in tree.files:
        if not _has_ending(path, (".rs", ".md", ".py", ".sh", ".pml", ".c", ".h", ".toml")):
            continue
        for number, line in enumerate(tree.lines(path), 1):
            if len(line) <= COLUMNS or (path.endswith((".md", ".rs")) and TABLE_ROW.match(line)):
                continue
            if any(url.start() < COLUMNS and url.end() >= len(line.rstrip(".,;:)]>`\"'"))
                   for url in URL.finditer(line)):
                continue
            problems.append(Problem(path, number, f"a line of {len(line)} columns",
                                    f"wrap it at {COLUMNS}"))
    return problems


def length(tree):
    """Refuses files that are too long, and long files without a reason."""
    problems = []
    for path in tree.files:
        if not _has_ending(path, (".rs", ".py", ".md", ".c", ".pml", ".sh")):
            continue
        lines = tree.text(path).splitlines()
        if len(lines) > LINES_REFUSED:
            problems.append(Problem(path, LINES_REFUSED + 1, f"a file of {len(lines)} lines",
                                    f"divide it: at most {LINES_REFUSED}"))
        elif len(lines) > LINES_EXPLAINED and not any(map(REASON.match, lines[:HEADER_LINES])):
            problems.append(Problem(
                path, 1, f"a file of {len(lines)} lines without a reason",
                f"divide it, or give the reason in its header comment: `Length: …` (above "
                f"{LINES_EXPLAINED} lines)"))
    return problems


def openings(tree):
    """Refuses a comment that begins with a pronoun instead of its subject.

    A file in the ratchet is accepted. A file that lost its last such comment is refused there.
    """
    problems = []
    known = tree.lines(KNOWN_OPENINGS) if tree.exists(KNOWN_OPENINGS) else []
    known = {line: number for number, line in enumerate(known, 1)
             if line and not line.startswith("#")}
    for path in tree.files:
        if not _has_ending(path, (".rs", ".py", ".sh", ".c", ".h", ".pml", ".toml")):
            continue
        found = [Problem(path, number, f"a comment begins with `{word}`",
                         "begin with the noun that it is about, or with the verb")
                 for number, word in _openings_of(tree.lines(path))]
        if path not in known:
            problems += found
        elif found:
            del known[path]
    for path, number in known.items():
        problems.append(Problem(KNOWN_OPENINGS, number, f"{path} has no such comment",
                                "remove it from the list"))
    return problems


def _openings_of(lines):
    """Yields the paragraphs of comments that begin with a pronoun: line number and word."""
    inside = False
    for number, line in enumerate(lines, 1):
        comment = COMMENT.match(line)
        text = comment["text"] if comment else ""
        if not inside and (opening := OPENING.match(text)):
            yield number, opening[1]
        inside = bool(text.strip(" */"))


def types(tree):
    """Refuses a type name that the product defines twice."""
    first, problems = {}, []
    for path, source in sorted(rust.product_files(tree).items()):
        for kind, name, at, _, _ in source.module_items():
            if kind not in rust.TYPE_KINDS:
                continue
            place = (path, source.line(at))
            if name in first:
                there, line = first[name]
                problems.append(Problem(*place, f"the type name {name} has two definitions",
                                        f"rename one; the other is at {there}:{line}"))
            else:
                first[name] = place
    if not first:
        problems.append(Problem("core-nostd/src", 1, "no type was found",
                                "correct PRODUCT in ci/tidy.d/tree.py"))
    return problems
