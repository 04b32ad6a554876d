#!/usr/bin/env python3
"""Holds the rules in specs/*.md, their citations in the code, and the table in code.md together."""

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

problems = []

rules = []
for page in sorted((ROOT / "specs").glob("*.md")):
    rules += RULE.findall(page.read_text())
for rule in {rule for rule in rules if rules.count(rule) > 1}:
    problems.append(f"rule {rule} is written twice")

cited = {}
for folder in CODE:
    for file in sorted((ROOT / folder).rglob("*.rs")):
        if "target" in file.relative_to(ROOT).parts:
            continue
        for citation in CITED.findall(file.read_text()):
            for rule in re.findall(r"[A-Z]\d+", citation):
                cited.setdefault(rule, file.relative_to(ROOT))
for model in sorted((ROOT / "specs").glob("*.pml")):
    for rule in GUARD.findall(model.read_text()):
        if rule not in rules:
            problems.append(f"{model.name} takes out rule {rule}, which does not exist")

for rule in rules:
    if rule not in cited:
        problems.append(f"rule {rule} is cited nowhere in the code")
for rule, file in cited.items():
    if rule not in rules:
        problems.append(f"{file} cites rule {rule}, which does not exist")

# What the validator of traces knows by name, some trace breaks.
# (The one of logs has its own tests beside it.)
validator = (ROOT / "frontend-test/src/specification").glob("*.rs")
validator = "".join(file.read_text() for file in validator if file.name != "logs.rs")
tampered = "".join(f.read_text() for f in (ROOT / "frontend-test/tests/traces").glob("*.rs"))
for rule in sorted(set(re.findall(r'"([A-Z]\d+)"', validator))):
    if rule not in rules:
        problems.append(f"the validator of traces names rule {rule}, which does not exist")
    if not re.search(rf"\bfn {rule.lower()}_", tampered):
        problems.append(f"no trace is tampered with against rule {rule}")

table = dict(KEPT.findall((ROOT / "specs/code.md").read_text()))
for rule in rules:
    if rule not in table:
        problems.append(f"code.md does not say where rule {rule} is")
for rule, places in table.items():
    if rule not in rules:
        problems.append(f"code.md knows rule {rule}, which does not exist")
    text = None
    for name in re.findall(r"`([^`]+)`", places):
        if name.endswith(".rs"):
            path = ROOT / name if name.startswith(CODE) else ROOT / "core-nostd/src" / name
            text = path.read_text() if path.exists() else ""
            if not text:
                problems.append(f"code.md, {rule}: there is no {name}")
        elif text and not re.search(
            rf"// specs: [^\n]*\b{rule}\b[^\n]*\n(?:\s*#\[[^\n]*\]\n)*[^\n{{]*\bfn {name}\b", text
        ):
            problems.append(f"code.md, {rule}: no function {name} there that cites it")

for problem in problems:
    print(f"check-rules: {problem}", file=sys.stderr)
if problems or not rules:
    sys.exit(1)
print(f"rules: {len(rules)}, each cited in the code and found where code.md says")
