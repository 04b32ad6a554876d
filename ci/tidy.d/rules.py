"""The check `rules`: the problems that `specs/check-rules.py` finds."""

import importlib.util

from tree import Problem

CHECKER = "specs/check-rules.py"


def rules(tree):
    """Refuses a rule without a citation, a citation of no rule, and a wrong table in code.md."""
    if CHECKER not in tree.files:
        return [Problem(CHECKER, 1, "the checker of rules is missing", "restore it")]
    spec = importlib.util.spec_from_file_location("check_rules", tree.root / CHECKER)
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    return [Problem(*problem) for problem in checker.check(tree.root)]
