#!/usr/bin/env python3
"""Checks the rules in specs/*.md, their citations in the code, and the table in code.md.

`ci/tidy rules` and `ci/check-specs rules` both run this check.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CODE = ("core-nostd", "frontend-linux", "frontend-test")
# A rule begins a paragraph. A citation is "specs: P3" or "specs: P3, R4".
RULE = re.compile(r"^\*\*([A-Z]\d+)\*\* ", re.MULTILINE)
CITED = re.compile(r"\bspecs: ((?:[A-Z]\d+(?:, )?)+)")
KEPT = re.compile(r"^\| ([A-Z]\d+) \| (.*) \|$", re.MULTILINE)
GUARD = re.compile(r"\bWITHOUT_([A-Z]\d+)")
NAMED = re.compile(r'"([A-Z]\d+)"')

VARIANT = re.compile(r"^    ([A-Z]\d+) ([A-Z]\w+),$", re.MULTILINE)
VARIANT_ROW = re.compile(r"^\| `([A-Z]\w+)` \| ([A-Z]\d+) \| (\w+) \|$", re.MULTILINE)
SHOWN_BY = re.compile(r"^ *\(Mutant::(\w+), (\w+)\),$", re.MULTILINE)

TABLE = "specs/code.md"
VARIANTS = "core-nostd/src/mutants.rs"
SEARCH = "frontend-test/src/bin/mutants.rs"
VALIDATOR = "frontend-test/src/specification"
TRACES = "frontend-test/tests/traces"


def matches(root, files, pattern):
    """Yields (path from the root, line, first group) of each match in some files."""
    for file in files:
        text = file.read_text()
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield str(file.relative_to(root)), line, match[1]


def sources(root):
    for folder in CODE:
        for file in sorted((root / folder).rglob("*.rs")):
            if "target" not in file.relative_to(root).parts:
                yield file


def check(root):
    """Returns each problem as (path, line, problem, remedy)."""
    rules, problems = {}, []
    pages = sorted((root / "specs").glob("*.md"))
    for path, line, rule in matches(root, pages, RULE):
        if rule in rules:
            remedy = f"give one another number; the other is at {':'.join(map(str, rules[rule]))}"
            problems.append((path, line, f"rule {rule} is written twice", remedy))
        rules.setdefault(rule, (path, line))
    if not rules:
        problems.append(("specs", 1, "no rule at all", "begin a paragraph with **P1** or the like"))

    models = sorted((root / "specs").glob("*.pml"))
    cited = set()
    for path, line, citation in matches(root, sources(root), CITED):
        for rule in re.findall(r"[A-Z]\d+", citation):
            cited.add(rule)
            if rule not in rules:
                remedy = "cite the rule that is kept here, or write it in specs/"
                problems.append((path, line, f"cites rule {rule}, which does not exist", remedy))
    for path, line, rule in matches(root, models, GUARD):
        if rule not in rules:
            remedy = "name the guard by a rule in specs/"
            problems.append((path, line, f"takes out rule {rule}, which does not exist", remedy))
    for rule in rules:
        if rule not in cited:
            remedy = f"write `// specs: {rule}` above the function or test that keeps it"
            problems.append((*rules[rule], f"no code and no test cites rule {rule}", remedy))

    return problems + untampered(root, rules) + misplaced(root, rules) + unlisted(root, rules)


def untampered(root, rules):
    """Returns the rules that the validator of traces names and that no trace breaks.

    (The validator of logs has its own tests beside it.)
    """
    problems = []
    files = [f for f in sorted((root / VALIDATOR).glob("*.rs")) if f.name != "logs.rs"]
    tampered = "".join(f.read_text() for f in sorted((root / TRACES).glob("*.rs")))
    for path, line, rule in {found[2]: found for found in matches(root, files, NAMED)}.values():
        if rule not in rules:
            remedy = "name a rule in specs/"
            problems.append((path, line, f"names rule {rule}, which does not exist", remedy))
        if not re.search(rf"\bfn {rule.lower()}_", tampered):
            remedy = f"write a test `fn {rule.lower()}_…` in {TRACES}"
            problems.append((path, line, f"no trace is tampered with against {rule}", remedy))
    return problems


def misplaced(root, rules):
    """Returns the faults of the table in code.md."""
    if not (root / TABLE).exists():
        return [(TABLE, 1, "the table of rules is missing", "write it")]
    problems, text = [], (root / TABLE).read_text()
    rows = {}
    for match in KEPT.finditer(text):
        rows[match[1]] = (text.count("\n", 0, match.start()) + 1, match[2])
    for rule, (path, line) in rules.items():
        if rule not in rows:
            problems.append((path, line, f"{TABLE} does not say where rule {rule} is kept",
                             "add a row to its table"))
    for rule, (line, places) in rows.items():
        if rule not in rules:
            problems.append((TABLE, line, f"rule {rule} does not exist", "remove its row"))
        code, file = None, ""
        for name in re.findall(r"`([^`]+)`", places):
            if name.endswith(".rs"):
                file = name
                path = root / name if name.startswith(CODE) else root / "core-nostd/src" / name
                code = path.read_text() if path.exists() else ""
                if not code:
                    problems.append((TABLE, line, f"{rule}: no file {name}", "correct the path"))
            elif code and not re.search(
                rf"// specs: [^\n]*\b{rule}\b[^\n]*\n(?:\s*#\[[^\n]*\]\n)*[^\n{{]*\bfn {name}\b",
                code,
            ):
                what = f"{rule}: no function {name} in {file} that cites it"
                remedy = f"correct the row, or write `// specs: {rule}` above the function"
                problems.append((TABLE, line, what, remedy))
    return problems


def unlisted(root, rules):
    """Returns the faults of the table of broken variants in code.md."""
    if not (root / VARIANTS).exists():
        return []
    problems, text = [], (root / TABLE).read_text()
    rows = {match[1]: (match[2], match[3]) for match in VARIANT_ROW.finditer(text)}
    shown = dict(SHOWN_BY.findall((root / SEARCH).read_text()))
    variants = {}
    for rule, name in VARIANT.findall((root / VARIANTS).read_text()):
        variants[name] = (rule, shown.get(name, "Nodes").lower())
        if rule not in rules:
            what = f"{name} breaks rule {rule}, which does not exist"
            problems.append((VARIANTS, 1, what, "name a rule in specs/"))
    for name in sorted(variants.keys() | rows.keys()):
        if variants.get(name) != rows.get(name):
            what = f"variant {name} is {variants.get(name)}, and the table says {rows.get(name)}"
            problems.append((TABLE, 1, what, f"write it as {VARIANTS} and {SEARCH} have it"))
    return problems


def main():
    problems = check(ROOT)
    for path, line, what, remedy in problems:
        print(f"{path}:{line}: {what}: {remedy}", file=sys.stderr)
    if problems:
        sys.exit(1)
    rules = {rule for _, _, rule in matches(ROOT, (ROOT / "specs").glob("*.md"), RULE)}
    print(f"rules: {len(rules)}, each cited in the code and found where code.md says")


if __name__ == "__main__":
    main()
