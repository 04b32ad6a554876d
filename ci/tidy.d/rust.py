"""A parser of Rust for the checks: it finds comments and strings, code of tests, items and blocks.

Its functions work on text of the file's length, in which the parts that do not count are blank, so
that a position in the text is the same position in the file.
"""

import re
from functools import lru_cache

LITERAL = re.compile(
    r"""//[^\n]* | /\*
      | \b[bc]?r(?P<hashes>\#*)"
      | \b[bc]?"(?:\\.|[^"\\])*" | "(?:\\.|[^"\\])*"
      | b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^\\'\n])'""",
    re.VERBOSE | re.DOTALL,
)
NOT_NEWLINE = re.compile(r"[^\n]")
ATTRIBUTE = re.compile(r"#!?\[(?:[^\[\]]|\[[^\]]*\])*\]")
TEST_ONLY = re.compile(r"#(!?)\[\s*cfg\s*\(\s*(?:test\s*\)|all\s*\(\s*(?:[^()]*,\s*)?test\b)")
ITEM = re.compile(
    r"""\s*(?:pub\b\s*(?:\([^)]*\))?\s*)?
        (?:(?:default|const|async|unsafe|extern|safe)\s+)*
        (?P<kind>mod|fn|struct|enum|union|trait|type|use|static|const|impl|let|macro_rules!|extern)
        (?![\w])\s*(?:mut\s+)?(?P<name>\w+)?""",
    re.VERBOSE,
)
MACRO = re.compile(r"\s*[\w:]+!\s*$")
TYPE_KINDS = ("struct", "enum", "union", "trait", "type")
CLOSING = {"(": ")", "[": "]", "{": "}"}


def blank(text):
    return NOT_NEWLINE.sub(" ", text)


def _literal_end(text, match):
    if match[0] == "/*":
        depth, at = 1, match.end()
        while depth and at < len(text):
            next_mark = re.compile(r"/\*|\*/").search(text, at)
            if not next_mark:
                return len(text)
            depth += 1 if next_mark[0] == "/*" else -1
            at = next_mark.end()
        return at
    if match["hashes"] is not None:
        end = text.find('"' + match["hashes"], match.end())
        return len(text) if end < 0 else end + 1 + len(match["hashes"])
    return match.end()


def split(text):
    """Returns the code without comments and strings, and the comments and strings without code."""
    code, rest, at = [], [], 0
    while match := LITERAL.search(text, at):
        end = _literal_end(text, match)
        code += [text[at : match.start()], blank(text[match.start() : end])]
        rest += [blank(text[at : match.start()]), text[match.start() : end]]
        at = end
    code.append(text[at:])
    rest.append(blank(text[at:]))
    return "".join(code), "".join(rest)


def closing(code, opened):
    """Returns the position of the bracket that closes the one at `opened`."""
    depth = 0
    for match in re.compile(r"[(\[{)\]}]").finditer(code, opened):
        depth += 1 if match[0] in CLOSING else -1
        if depth == 0:
            return match.start()
    return len(code) - 1


def item_end(code, at):
    """Returns the end of the item, field or statement that begins at `at`."""
    while attribute := ATTRIBUTE.match(code, at + len(code[at:]) - len(code[at:].lstrip())):
        at = attribute.end()
    item = ITEM.match(code, at)
    until_semicolon = bool(item) and item["kind"] in ("use", "static", "const", "let", "type")
    while match := re.compile(r"[(\[{)\]};,]").search(code, at):
        at = match.end()
        if match[0] in CLOSING:
            at = closing(code, match.start()) + 1
            if match[0] == "{" and not until_semicolon:
                return at
        elif match[0] in ")]}":
            return match.start()
        elif match[0] == ";" or not item:
            return at
    return len(code)


def tests_of(code):
    """Returns the spans that exist only under `cfg(test)`."""
    spans, at = [], 0
    while match := TEST_ONLY.search(code, at):
        if match[1]:
            return [(0, len(code))]
        end = item_end(code, closing(code, code.index("[", match.start())) + 1)
        spans.append((match.start(), end))
        at = max(end, match.end())
    return spans


class Block:
    """The text between braces, of an item or of any other block."""

    def __init__(self, kind, name, head, start, opened, parent):
        self.kind, self.name, self.head = kind, name, head
        self.start, self.opened, self.closed, self.parent = start, opened, opened, parent

    def in_module(self):
        """Returns whether the items directly in this block are at module level."""
        return self.kind in ("mod", "macro") and (not self.parent or self.parent.in_module())


class Source:
    """A Rust file in its parts. `code` is the code that is compiled into the product."""

    def __init__(self, path, text):
        self.path, self.text = path, text
        self.all_code, self.rest = split(text)
        self.test_spans = tests_of(self.all_code)
        code = self.all_code
        for start, end in self.test_spans:
            code = code[:start] + blank(code[start:end]) + code[end:]
        self.code = code
        self.blocks, self.statements = [], []
        self._take_apart()

    def line(self, position):
        return self.text.count("\n", 0, position) + 1

    def _take_apart(self):
        """Finds all blocks and all statements that end with a semicolon."""
        code, stack, start, parent = self.code, [], 0, None
        for match in re.finditer(r"[(\[{)\]};]", code):
            sign, at = match[0], match.start()
            if sign == ";":
                if not stack or stack[-1][0] == "{":
                    self._statement(start, at, parent)
                    start = at + 1
            elif sign == "{":
                kind, name, begin = self._classify(start, at)
                if kind in ("use", "static", "const", "let", "type"):
                    stack.append(("{", None))
                    continue
                block = Block(kind, name, code[begin:at], begin, at, parent)
                self.blocks.append(block)
                stack.append(("{", block))
                parent, start = block, at + 1
            elif sign in CLOSING:
                stack.append((sign, None))
            elif stack:
                _, block = stack.pop()
                if block:
                    block.closed, parent, start = at, block.parent, at + 1

    def _classify(self, start, end):
        begin = start
        code = self.code
        while True:
            begin += len(code[begin:end]) - len(code[begin:end].lstrip())
            attribute = ATTRIBUTE.match(code, begin, end)
            if not attribute:
                break
            begin = attribute.end()
        item = ITEM.match(code, begin, end)
        if item:
            kind = item["kind"]
            if kind == "macro_rules!":
                kind = "macro_rules"
            return kind, item["name"], begin
        return ("macro" if MACRO.match(code[begin:end]) else "other"), None, begin

    def _statement(self, start, end, parent):
        kind, name, begin = self._classify(start, end)
        if kind != "other":
            self.statements.append((kind, name, begin, self.code[begin:end], parent))

    def module_items(self):
        """Yields (kind, name, position, block or None, parent) of each item at module level."""
        for kind, name, at, _, parent in self.statements:
            if not parent or parent.in_module():
                yield kind, name, at, None, parent
        for block in self.blocks:
            if block.kind not in ("other", "macro") and (
                not block.parent or block.parent.in_module()
            ):
                yield block.kind, block.name, block.start, block, block.parent

    def test_modules(self):
        """Returns the names of the modules that are files and exist only for tests."""
        code = self.all_code
        spans = "".join(code[start:end] + "\n" for start, end in self.test_spans)
        return re.findall(r"\bmod\s+(\w+)\s*;", spans)


@lru_cache(maxsize=None)
def parse(path, text):
    return Source(path, text)


def child_file(tree, path, name):
    """Returns the file of the module that a file declares as `mod name;`, or nothing."""
    folder, _, base = path.rpartition("/")
    if base not in ("mod.rs", "lib.rs", "main.rs"):
        folder = f"{folder}/{base.removesuffix('.rs')}"
    for candidate in (f"{folder}/{name}.rs", f"{folder}/{name}/mod.rs"):
        if tree.exists(candidate):
            return candidate
    return None


def product_files(tree):
    """Returns the sources of the product, without the files that only tests include."""
    sources = {path: parse(path, tree.text(path)) for path in tree.product_sources()}
    tests = []
    for path, source in sources.items():
        tests += [child_file(tree, path, name) for name in source.test_modules()]
    only_tests = set()
    while tests:
        path = tests.pop()
        if path and path not in only_tests and path in sources:
            only_tests.add(path)
            names = re.findall(r"\bmod\s+(\w+)\s*;", sources[path].all_code)
            tests += [child_file(tree, path, name) for name in names]
    return {path: source for path, source in sources.items() if path not in only_tests}
