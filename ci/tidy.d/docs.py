"""The checks of documents against the tree: `paths` and `byte-way`."""

import os
import re

import rust
from tree import Problem

ARCHITECTURE = "specs/ARCHITECTURE.md"
# Folders at which a document's paths may start, beside the root and the document's own folder.
BASES = {"specs/code.md": "core-nostd/src"}

SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Texts that are not a path, or that are the pattern of one.
PATTERN = re.compile(r"[…*<>$|=\\\"'(){}\[\],]|\.\.\.|::|^[/~@-]|^\w+:")
# A word in capitals, which the reader replaces, as in `DATA/sockets`.
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_]*$")
FILE = re.compile(r"\.(?:rs|md|py|pml|toml|sh|c|h|lock)$")


def documents(tree):
    """Returns README, CONTRIBUTING and CHANGELOG, the documents of specs, and every README."""
    return [f for f in tree.files
            if f in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
            or f.endswith("/README.md") or re.fullmatch(r"specs/[^/]+\.md", f)]


def prose(tree, path):
    """Yields the lines of a document outside of blocks of code, with their numbers."""
    fenced = False
    for number, line in enumerate(tree.lines(path), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def _is_missing(tree, document, span):
    """Returns the path that a span names if the path does not exist."""
    words = span.split()
    if not words:
        return None
    path = re.sub(r"(?::\d+|#.*)$", "", words[0]).rstrip(":.;")
    parts = path.rstrip("/").split("/")
    if "/" not in path or PATTERN.search(path) or any(map(PLACEHOLDER.match, parts)):
        return None
    if parts[0] == "target":
        return None
    folder = document.rpartition("/")[0]
    bases = {"", folder, BASES.get(document, "")}
    known = False
    for base in bases:
        if tree.exists(os.path.join(base, path)):
            return None
        known = known or tree.exists(os.path.join(base, parts[0]))
    if known:
        return path
    # The span may be the end of a path, such as `paxos/window.rs`.
    if FILE.search(path) and not any(f.endswith("/" + path) for f in tree.files):
        return path
    return None


def paths(tree):
    """Refuses a path in a document that does not exist."""
    problems = []
    remedy = "give the path that it has now"
    for document in documents(tree):
        folder = document.rpartition("/")[0]
        for number, line in prose(tree, document):
            for span in SPAN.findall(line):
                if path := _is_missing(tree, document, span):
                    problems.append(Problem(document, number, f"no path `{path}`", remedy))
            for target in LINK.findall(SPAN.sub("", line)) + LINK.findall(line):
                target = target.split("#")[0]
                if not target or re.match(r"\w+:|/", target):
                    continue
                problem = Problem(document, number, f"the link ({target}) leads nowhere", remedy)
                if not tree.exists(os.path.join(folder, target)) and problem not in problems:
                    problems.append(problem)
    if not documents(tree):
        problems.append(Problem("README.md", 1, "no document was found", "write it"))
    return problems


def byte_way(tree):
    """Refuses a step of a byte's way that names a file or a function that does not exist."""
    if ARCHITECTURE not in tree.files:
        return [Problem(ARCHITECTURE, 1, "the document is missing",
                        "write it, with a table below a heading `The way of a byte`")]
    problems, inside, pairs, heading = [], 0, 0, 1
    for number, line in prose(tree, ARCHITECTURE):
        if marks := re.match(r"(#+) ", line):
            if "way of a byte" in line.lower():
                inside, heading = len(marks[1]), number
            elif len(marks[1]) <= inside:
                inside = 0
        elif inside and line.lstrip().startswith("|"):
            found, faults = _steps(tree, line)
            pairs += found
            problems += [Problem(ARCHITECTURE, number, *fault) for fault in faults]
    if not pairs and not problems:
        problems.append(Problem(
            ARCHITECTURE, heading, "no step of a byte's way",
            "below a heading `The way of a byte`, give a table with rows of `file` `function`"))
    return problems


def _steps(tree, row):
    """Returns how many pairs a row names, and its faults."""
    pairs, faults, file, functions, end = 0, [], None, 0, 0
    for span in SPAN.finditer(row):
        name, near = span[1], re.fullmatch(r"[\s,|]*", row[end : span.start()])
        end = span.end()
        if name.endswith(".rs"):
            if file and not functions:
                faults.append((f"`{file}` without a function", "name the function behind it"))
            file, functions = name, 0
            if file not in tree.files:
                faults.append((f"no file `{file}`", "give the path that it has now"))
        elif file and near and re.fullmatch(r"(?:\w+::)*\w+(?:\(\))?", name):
            functions += 1
            pairs += 1
            function = name.removesuffix("()").split("::")[-1]
            code = rust.parse(file, tree.text(file)).code
            if file in tree.files and not re.search(rf"\bfn {function}\b", code):
                faults.append((f"no `fn {function}` in {file}", "name the function that does it"))
    if file and not functions:
        faults.append((f"`{file}` without a function", "name the function behind it"))
    return pairs, faults
