"""Plants each kind of fault in a small tree, which must be refused at the right file and line."""

import pathlib
import tempfile
import time

from tree import Tree

LINUX = "frontend-linux/crane-linux/src"
PRELOAD = "frontend-linux/crane-preload/src"
PAXOS = "core-nostd/src/paxos"
CHECKER = pathlib.Path(__file__).resolve().parents[2] / "specs/check-rules.py"
LONG = "x" * 101

# A tree without a fault. Some of its texts look like faults.
CLEAN = {
    "README.md": f"""# A house

Folders: `core-nostd`, `{LINUX}/driver`.
No paths: `/usr/bin/x`, `DATA/a/1`, `specs/*.rs`, `a/b`.
See [the rules](specs/rules.md#p), `paxos/node.rs`, `specs/rules.md:3` and [far](https://a.b/c).
https://example.org/{LONG}

| {LONG} |
""",
    "core-nostd/src/lib.rs": "//! Core.\n#[macro_use]\nmod fmt;\npub mod paxos;\n",
    "core-nostd/src/fmt.rs": "macro_rules! say {\n    ($x:expr) => { struct Node; };\n}\n",
    f"{PAXOS}/mod.rs": "//! Paxos.\nmod node;\nmod role;\nmod window;\npub use node::Node;\n"
    "pub use role::{Role, Turn as Order};\n",
    f"{PAXOS}/role.rs": "pub enum Role { Backup }\npub struct Turn;\n"
    "#[cfg(test)]\nmod tests {\n    use super::super::Node;\n    struct Role;\n}\n",
    f"{PAXOS}/node.rs": """//! A node: what `Role` it has. // struct Role;
use super::window::Window;
use super::{Order, Role};

pub struct Node { pub role: Role, order: Order, log: Window }

// specs: P1
impl Node {
    pub fn step(&mut self) { self.log.put('"', "struct Role { // "); self.finish(); }
    fn finish(&mut self) { let ticking = 'a'; }
}
""",
    f"{PAXOS}/window.rs": "pub struct Window;\nimpl Window {\n"
    "    // specs: P1\n    pub fn put(&mut self, sign: char, text: &str) {}\n}\n",
    f"{LINUX}/lib.rs": "mod driver;\n#[cfg(test)]\nmod faults;\n",
    f"{LINUX}/faults.rs": "mod deep;\npub struct Window;\n",
    f"{LINUX}/faults/deep.rs": "pub struct Node;\n",
    f"{LINUX}/driver/mod.rs": "mod clients;\nuse clients::Clients;\n"
    "pub struct Driver { clients: Clients }\n"
    "fn run(driver: &mut Driver) { driver.clients.read(); }\n",
    f"{LINUX}/driver/clients.rs": "pub struct Clients;\n"
    "impl Clients {\n    pub fn read(&self) {}\n}\n",
    f"{PRELOAD}/lib.rs": "mod hooks;\nmod world;\n",
    f"{PRELOAD}/hooks/mod.rs": "mod lock;\n",
    f"{PRELOAD}/hooks/lock.rs": "use crate::world;\n\nfn lock() { world::enter(); }\n",
    f"{PRELOAD}/world.rs": "pub fn enter() {}\n",
    "frontend-test/tests/traces/one.rs": "fn p1_is_broken() {}\n",
    "frontend-test/src/specification/mod.rs": 'const NAME: &str = "P1";\n',
    "specs/rules.md": "# Rules\n\n**P1** A node steps.\n",
    "specs/code.md": "| rule | kept by |\n|---|---|\n| P1 | `paxos/window.rs` `put` |\n",
    "specs/ARCHITECTURE.md": f"# Rooms\n\n## The way of a byte\n\n| step |\n|---|\n"
    f"| `{LINUX}/driver/clients.rs` `read` |\n| `{PAXOS}/node.rs` `step`, `finish` |\n",
    "specs/GLOSSARY.md": "# Words\n\n## Forbidden words\n\n"
    "- `Anchor` — SnapshotMeta — all; identifiers\n- `tick` — step — core-nostd; identifiers\n"
    "- `util` — a name of what it does — all; identifiers\n- `hand over` — forward — all; text\n"
    "- `goes on` — continues — frontend-linux/crane-linux; text\n",
    "ci/run": "#!/bin/sh\ntrue\n",
}

NODE, WINDOW, MOD = f"{PAXOS}/node.rs", f"{PAXOS}/window.rs", f"{PAXOS}/mod.rs"
LOCK, WORLD = f"{PRELOAD}/hooks/lock.rs", f"{PRELOAD}/world.rs"
CLIENTS = f"{LINUX}/driver/clients.rs"
HEAD = "//! What it is.\n"

# Each fault is (check, name, file, text to add to it or a function of its text, refused line). A
# line of None means that the check accepts the change.
FAULTS = [
    ("types", "a type in two crates", WORLD, "pub struct Role;\n", 2),
    ("types", "a type in a module within a file", WORLD, "mod a {\n    type Node = u8;\n}\n", 3),
    ("types", "a trait", CLIENTS, "pub(super) unsafe trait Role {}\n", 5),
    ("types", "a type only in tests", WORLD, "#[cfg(test)]\nmod t {\n    enum Role {}\n}\n", None),
    ("types", "a type only in tests, by itself", WORLD, "#[cfg(test)]\nstruct Role(u8);\n", None),
    ("types", "a type behind an item of tests", WORLD,
     "#[cfg(test)]\nuse a::{b, c};\n#[cfg(test)]\nconst A: [u8; 1] = [1];\nstruct Role;\n", 6),
    ("types", "an associated type", WORLD, "impl A for B {\n    type Role = u8;\n}\n", None),
    ("types", "a type in a function", WORLD, "fn f() {\n    struct Role;\n}\n", None),
    ("columns", "a long line", WORLD, f"// {LONG}\n", 2),
    ("columns", "a long line of a command", "ci/run", f"# {LONG}\n", 3),
    ("columns", "a long line of Markdown", "README.md", f"a {LONG}\n", 9),
    ("columns", "text behind a URL", "README.md", f"https://a.b/{'c' * 85} and more\n", 9),
    ("columns", "100 characters of two bytes", WORLD, f"// {'é' * 97}\n", None),
    ("columns", "a row of a table in a comment", WORLD, f"//! | {LONG} |\n", None),
    ("length", "601 lines", WORLD, lambda _: HEAD + "//! Length: all.\n" + "\n" * 599, 601),
    ("length", "501 lines", WORLD, lambda _: HEAD + "\n" * 500, 1),
    ("length", "501 lines, no reason", WORLD, lambda _: HEAD + "//! Length:\n" + "\n" * 499, 1),
    ("length", "501 lines, late reason", WORLD,
     lambda _: HEAD + "\n" * 459 + "//! Length: all.\n" + "\n" * 40, 1),
    ("length", "600 lines, reason", WORLD,
     lambda _: HEAD + "//! Length: all.\n" + "\n" * 598, None),
    ("length", "500 lines", WORLD, lambda _: HEAD + "\n" * 499, None),
    ("words", "a type", WORLD, "struct Anchor;\n", 2),
    ("words", "a type in a comment", WORLD, "// As\n// `Anchor::new` does.\n", 3),
    ("words", "a part of a longer type", WORLD, "struct AnchorBolt;\n", None),
    ("words", "a part of a name", NODE, "fn next_tick() {}\n", 12),
    ("words", "a part of a constant", NODE, "const TICK_MAX: u8 = 1;\n", 12),
    ("words", "a part of a part", NODE, "fn sticky() {}\n", None),
    ("words", "a name elsewhere", WORLD, "fn tick() {}\n", None),
    ("words", "a word in prose", NODE, "// The tick of a clock.\n", None),
    ("words", "a file", f"{LINUX}/util.rs", "fn a() {}\n", 1),
    ("words", "a folder", f"{LINUX}/my_util/a.rs", "fn a() {}\n", 1),
    ("words", "a module", f"{LINUX}/lib.rs", "mod util;\n", 4),
    ("words", "a phrase", WORLD, "// They hand\n// over ops.\n", 2),
    ("words", "a phrase out of its scope", LOCK, "// It\n// goes on.\n", None),
    ("words", "a phrase in its scope", CLIENTS, "// It goes on.\n", 5),
    ("words", "a phrase in a string", WORLD, 'const A: &str = "Hand over!";\n', 2),
    ("words", "a malformed line of the list", "specs/GLOSSARY.md", "- `a` - b - c\n", 10),
    ("words", "a scope without files", "specs/GLOSSARY.md", "- `absent` — b — core; text\n", None),
    ("words", "a scope without files", "specs/GLOSSARY.md", "- `a` — b — cord; text\n", 10),
    ("words", "an empty list", "specs/GLOSSARY.md", lambda text: text.replace("Forbidden", "F"), 1),
    ("words", "no glossary", "specs/GLOSSARY.md", None, 1),
    ("openings", "a doc", WORLD, "/// What it is.\nstruct A;\n", 2),
    ("openings", "the second paragraph of a doc", WORLD, "//! A.\n//!\n//! Nobody does.\n", 4),
    ("openings", "a comment", LOCK, "fn a() {\n    // Who locks.\n}\n", 5),
    ("openings", "a comment of a command", "ci/run", "# There is none.\n", 3),
    ("openings", "a comment of a test", "frontend-test/tests/a.rs", "// Somebody.\n", 1),
    ("openings", "a docstring", "ci/a.py", 'def a():\n    """What it does."""\n', 2),
    ("openings", "a word within a paragraph", WORLD, "// A says\n// What it is.\n", None),
    ("openings", "a longer word", WORLD, "// Whole.\n", None),
    ("openings", "a string", WORLD, 'const A: &str = "What";\n', None),
    ("openings", "a file of the ratchet", "ci/ratchet/openings",
     lambda _: f"# Known.\n{LOCK}\n", 2),
    ("rules", "a rule that nothing cites", "specs/rules.md", "\n**P2** More.\n", 5),
    ("rules", "a citation of no rule", WORLD, "// specs: P1, P9\n", 2),
    ("rules", "a function that does not cite", "specs/code.md",
     lambda text: text.replace("put", "get"), 3),
    ("paths", "no such file", "README.md", "`core-nostd/src/gone.rs`\n", 9),
    ("paths", "no such command", "README.md", "Run `ci/gone 20`.\n", 9),
    ("paths", "a folder with another name", "README.md", "In `spec/rules.md`.\n", 9),
    ("paths", "no such file below the core", "specs/code.md", "`paxos/gone.rs` `a`\n", 4),
    ("paths", "a link", "specs/rules.md", "See [there](gone.md#a).\n", 4),
    ("paths", "a crate's README", "core-nostd/README.md", "In `src/gone.rs`.\n", 1),
    ("paths", "a crate's own path", "core-nostd/README.md", "In `src/paxos/node.rs`.\n", None),
    ("paths", "a block of code", "README.md", "```sh\nci/gone `ci/gone`\n```\n", None),
    ("cycles", "two imports", WINDOW, "use super::role::Role;\nuse super::Node;\n", 2),
    ("cycles", "an import of a name given in mod.rs", f"{PAXOS}/role.rs", "use super::Node;\n", 1),
    ("cycles", "a path", f"{PAXOS}/role.rs", "fn f() { crate::paxos::node::f(); }\n", None),
    ("cycles", "a path to what exists", WINDOW, "fn f(a: &super::node::Node) {}\n", 6),
    ("cycles", "a module's name", WORLD,
     "use crate::hooks::lock as l;\nfn f() { l::lock(); }\n", 2),
    ("cycles", "a circle in tests", WORLD,
     "#[cfg(test)]\nmod tests {\n    use crate::hooks::lock::lock;\n}\n", None),
    ("cycles", "a file and the root of its module", CLIENTS,
     "fn f() -> Option<super::Driver> { None }\n", 5),
    ("cycles", "self.method()", WINDOW,
     "use super::node as n;\nimpl n::Node { pub(super) fn finish2(&self) {} }\n", 2),
]


def self_method(files):
    """Spreads a type over two files that call each other's methods on `self` alone."""
    files[f"{PAXOS}/a.rs"] = (
        "use super::Node;\n\nimpl Node {\n    pub(super) fn there(&self) {\n        self\n"
        "            .back::<1>();\n    }\n}\n")
    files[f"{PAXOS}/b.rs"] = (
        "use super::Node;\nimpl Node {\n    fn back(&self) { self.there(); }\n}\n")
    files[MOD] += "mod a;\nmod b;\n"
    return f"{PAXOS}/a.rs", 5


def associated(files):
    """Spreads a type over two files that need each other by `Self::` and by `fn invariants`."""
    files[f"{PAXOS}/a.rs"] = (
        "use super::Node;\nimpl Node {\n    fn invariants(&self) { Self::look(self); }\n}\n")
    files[f"{PAXOS}/b.rs"] = (
        "use super::Node;\nimpl Node {\n    fn look(&self) { self.invariants(); }\n}\n")
    files[MOD] += "mod a;\nmod b;\n"
    return f"{PAXOS}/a.rs", 3


def by_parameter(files):
    """Calls a method on a parameter and on a field, without an import."""
    files[f"{PAXOS}/a.rs"] = (
        "use super::Node;\nimpl Node {\n    fn log_is(&self) { self.log.size(); }\n}\n")
    files[f"{PAXOS}/b.rs"] = (
        "use super::{Node, window::Window};\nimpl Window {\n    fn size(&self) {}\n"
        "    fn of(&self, node: &mut Node) { node.log_is(); }\n}\n")
    files[MOD] += "mod a;\nmod b;\n"
    return f"{PAXOS}/a.rs", 3


def macros(files):
    """Needs a file for its macro, which needs the first."""
    files[WORLD] = "#[macro_export]\nmacro_rules! go { () => { $crate::hooks::lock::lock() }; }\n"
    files[LOCK] = "pub fn lock() {}\n\nfn f() { go!(); }\n"
    return LOCK, 3


def globbed(files):
    """Imports all names of a module."""
    files[WORLD] = "pub fn enter() {}\n\nuse crate::hooks::lock::*;\nfn f() { lock(); }\n"
    return LOCK, 3


def no_architecture(files):
    del files["specs/ARCHITECTURE.md"]
    return "specs/ARCHITECTURE.md", 1


def no_step(files):
    files["specs/ARCHITECTURE.md"] = "# The way of a byte\n\nWords.\n\n# Other\n\n| `a.rs` `b` |\n"
    return "specs/ARCHITECTURE.md", 1


def no_function(files):
    text = files["specs/ARCHITECTURE.md"]
    files["specs/ARCHITECTURE.md"] = text.replace("`finish`", "`finished`")
    return "specs/ARCHITECTURE.md", 8


def no_file(files):
    text = files["specs/ARCHITECTURE.md"]
    files["specs/ARCHITECTURE.md"] = text.replace("clients.rs", "client.rs")
    return "specs/ARCHITECTURE.md", 7


def no_name(files):
    files["specs/ARCHITECTURE.md"] += f"| then `{NODE}` |\n"
    return "specs/ARCHITECTURE.md", 9


def rule_twice(files):
    files["specs/zzz.md"] = "\n**P1** Again.\n"
    return "specs/zzz.md", 2


def guard(files):
    files["specs/a.pml"] = "\n#ifndef WITHOUT_P7\n"
    return "specs/a.pml", 2


def no_row(files):
    files["specs/code.md"] = "# Where\n"
    return "specs/rules.md", 3


def untampered(files):
    files["frontend-test/tests/traces/one.rs"] = "fn other() {}\n"
    return "frontend-test/src/specification/mod.rs", 1


def no_room(files):
    for path in [path for path in files if path.startswith(f"{LINUX}/driver")]:
        del files[path]
    return f"{LINUX}/driver", 1


def known_circle(files):
    """Plants a circle whose files are in the ratchet."""
    self_method(files)
    files["ci/ratchet/circles"] = f"# known\n{PAXOS}/a.rs\n{PAXOS}/b.rs\n"
    return "", None


def mended_circle(files):
    """Leaves a file in the ratchet that is in no circle."""
    files["ci/ratchet/circles"] = f"{PAXOS}/node.rs\n"
    return "ci/ratchet/circles", 1


def known_opening(files):
    """Plants a comment in a file that is in the ratchet."""
    files[WORLD] += "// What it is.\n"
    files["ci/ratchet/openings"] = f"{WORLD}\n"
    return "", None


# Faults of more than one file: each changes the tree, and returns the path and line to be refused.
PLANTED = [
    ("openings", known_opening),
    *(("cycles", plant) for plant in (self_method, associated, by_parameter, macros, globbed,
                                      no_room, known_circle, mended_circle)),
    *(("byte-way", plant) for plant in (no_architecture, no_step, no_function, no_file, no_name)),
    *(("rules", plant) for plant in (rule_twice, guard, no_row, untampered)),
]


def one_file(path, change, line):
    """Returns a plant that changes a single file."""

    def plant(files):
        if change is None:
            del files[path]
        elif callable(change):
            files[path] = change(files.get(path, ""))
        elif path in files and change.startswith("use "):
            files[path] = change + files[path]
        else:
            files[path] = files.get(path, "") + change
        return path, line

    return plant


def found(check, files):
    """Returns the problems that a check has with a tree of these files."""
    with tempfile.TemporaryDirectory(prefix="crane-tidy-") as folder:
        for path, text in files.items():
            file = pathlib.Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return check(Tree(folder))


def is_at(problems, path, line):
    """Returns whether all problems are at a line; a circle is at the line of any of its needs."""
    if len(problems) == 1 and problems[0].details:
        return any(detail.startswith(f"{path}:{line}: ") for detail in problems[0].details)
    return {(problem.path, problem.line) for problem in problems} == {(path, line)}


def run(checks):
    """Tries all faults, and prints those that a check missed or refused wrongly."""
    start, failures, refused, accepted = time.monotonic(), [], 0, 0
    clean = {**CLEAN, "specs/check-rules.py": CHECKER.read_text(encoding="utf-8")}
    for name, check in checks.items():
        for problem in found(check, clean):
            failures.append(f"{name} refuses the tree without a fault: {problem}")
    cases = [(check, label, one_file(*rest)) for check, label, *rest in FAULTS]
    cases += [(check, plant.__name__, plant) for check, plant in PLANTED]
    for check, label, plant in cases:
        files = dict(clean)
        path, line = plant(files)
        problems = found(checks[check], files)
        if line is None:
            accepted += 1
            failures += [f"{check} refuses {label}, which is no fault: {p}" for p in problems]
        elif not is_at(problems, path, line):
            failures.append(f"{check}, {label}: expected a refusal at {path}:{line} alone")
            failures += [f"    {problem}" for problem in problems] or ["    nothing was refused"]
        else:
            refused += 1
    untried = set(checks) - {check for check, _, plant in cases}
    failures += [f"no fault is planted for {check}" for check in sorted(untried)]
    for failure in failures:
        print(f"tidy, self-test: {failure}")
    if failures:
        return 1
    print(f"tidy, self-test: {refused} planted faults refused, {accepted} look-alikes accepted "
          f"({time.monotonic() - start:.1f} s)")
    return 0
