"""The check `words`: the product has no word of the glossary's forbidden list.

A line of the list is

    - `word` — what to use instead — where; what

*where* is `all`, or the beginning of a path, or several with commas. *what* is one of

- `identifiers`: names in code, names in backticks in comments, and names of files;
- `text`: the same names, and every word of comments and strings.

A word with a capital is a whole name (`Anchor` is not in `AnchorBolt`). Any other word is a part of
a name between underscores, also in capitals (`tick` is in `next_tick` and in `TICK_MAX`, and not in
`sticky`). A word with an underscore is several such parts in a row. In text, an entry is one whole
word or several.
"""

import re
from typing import NamedTuple

import rust
from tree import PRODUCT, Problem, line_at

GLOSSARY = "specs/GLOSSARY.md"
HEADING = re.compile(r"#+ .*\bforbidden\b", re.IGNORECASE)
ENTRY = re.compile(r"- `([^`]+)` — (.+) — ([^;—]+); (identifiers|text)$")
NAME = re.compile(r"\w+")
QUOTED = re.compile(r"`[^`\n]*`")


class Word(NamedTuple):
    word: str
    instead: str
    where: tuple
    kind: str
    line: int

    def applies_to(self, path):
        return "all" in self.where or path.startswith(self.where)


def forbidden(tree):
    """Returns the forbidden words, and the problems of their list."""
    if GLOSSARY not in tree.files:
        return [], [Problem(GLOSSARY, 1, "the glossary is missing", "write it")]
    words, problems, inside = [], [], False
    for number, line in enumerate(tree.lines(GLOSSARY), 1):
        if line.startswith("#"):
            inside = bool(HEADING.match(line))
        elif inside and line.startswith("-"):
            entry = ENTRY.match(line)
            if not entry:
                problems.append(Problem(
                    GLOSSARY, number, "not a line of the forbidden list",
                    "write: - `word` — use instead — all; identifiers"))
                continue
            where = tuple(entry[3].replace("`", "").replace(" ", "").split(","))
            words.append(Word(entry[1], entry[2], where, entry[4], number))
            for prefix in where:
                if prefix != "all" and not any(f.startswith(prefix) for f in tree.files):
                    problems.append(Problem(GLOSSARY, number, f"no file begins with {prefix}",
                                            "give the path of an existing file"))
    if not words and not problems:
        problems.append(Problem(GLOSSARY, 1, "the glossary forbids no word",
                                "end it with a section `Forbidden words`"))
    return words, problems


def parts_of(name):
    """Returns a name's parts between underscores, or nothing for a name like `ThisOne`."""
    if name.isupper() or name == name.lower():
        return f"_{name.lower()}_"
    return ""


def names_in(tree, path):
    """Returns the names of a file, each with the numbers of its lines."""
    source = rust.parse(path, tree.text(path))
    found = {}
    quoted = [(match.start(), match[0]) for match in QUOTED.finditer(source.rest)]
    for offset, text in [(0, source.all_code), *quoted]:
        for match in NAME.finditer(text):
            found.setdefault(match[0], []).append(offset + match.start())
    return {name: {line_at(source.text, at) for at in places} for name, places in found.items()}


def words(tree):
    """Refuses the glossary's forbidden words."""
    listed, problems = forbidden(tree)
    names, hits = [w for w in listed if " " not in w.word], set()
    for path in tree.under(*PRODUCT, ending=".rs"):
        applying = [w for w in names if w.applies_to(path)]
        for part in path.removesuffix(".rs").split("/"):
            for word in applying:
                if _is_in(word.word, part.replace("-", "_")):
                    hits.add((path, 1, word, "the path has"))
        for name, lines in names_in(tree, path).items():
            for word in applying:
                if _is_in(word.word, name):
                    hits.update((path, line, word, "a name has") for line in lines)
        text = rust.parse(path, tree.text(path)).rest
        for word in listed:
            if word.kind == "text" and word.applies_to(path):
                spaced = r"[\s/!]+".join(map(re.escape, word.word.split()))
                for match in re.finditer(rf"\b{spaced}\b", text, re.IGNORECASE):
                    hits.add((path, line_at(text, match.start()), word, "the text has"))
    for path, line, word, where in sorted(hits):
        problems.append(Problem(path, line, f"{where} the forbidden word `{word.word}`",
                                f"use {word.instead} ({GLOSSARY}:{word.line})"))
    return problems


def _is_in(word, name):
    if word != word.lower():
        return word == name
    return f"_{word}_" in parts_of(name)
