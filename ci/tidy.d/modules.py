"""The needs among the files of a crate: imports, paths, methods of types and macros, resolved to
the files that define them.

A file needs another file if it imports an item of it or names one by a path (re-exports are
followed), if it calls a macro of it, or if it calls a method that the other file defines on `self`,
on a field of `self`, or on a parameter or variable with a written type. Tests do not count, and
neither does the declaration of a module.
"""

import re

import rust

PATH = re.compile(r"(?<![\w.:])(?:\w+\s*::\s*)+\w+")
CALL = re.compile(r"(?<![\w.:])(\w+)((?:\s*\.\s*\w+)+)\s*(?:::\s*<[^;()]*?>\s*)?\(")
MACRO_CALL = re.compile(r"(?<![\w:.])(?:\$crate::)?(\w+)!\s*[({\[]")
TYPED = re.compile(r"\b(\w+)\s*:\s*((?:&|'\w+|\bmut\b|\bdyn\b|\s)*[A-Z][\w:]*(?:<[^=;(){}]*)?)")
BORROWED = re.compile(r"\blet\s+(?:mut\s+)?(\w+)\s*=\s*&?\s*(?:mut\s+)?(\w+(?:\s*\.\s*\w+)*)\s*;")
# A call through one of these types is a method of the value that it holds.
HOLDERS = ("Box", "Rc", "Arc")


class Item:
    """An item with a name at module level."""

    def __init__(self, name, kind, file, module, block):
        self.name, self.kind, self.file, self.module, self.block = name, kind, file, module, block
        self.methods, self.traits, self.fields = {}, [], {}


class Module:
    def __init__(self, name, file, parent, span):
        self.name, self.file, self.parent, self.span = name, file, parent, span
        self.items, self.modules, self.imports, self.globs = {}, {}, {}, []


class Crate:
    """The modules of a crate, from the folder of its sources."""

    def __init__(self, tree, folder):
        self.tree = tree
        self.files = rust.product_files(tree)
        self.macros, self.uses, self.impls = {}, [], []
        roots = [f"{folder}/{name}" for name in ("lib.rs", "main.rs")]
        root = next(path for path in roots if path in self.files)
        self.modules = []
        self.root = self._load("crate", root, None)
        self._find_methods()

    def _load(self, name, path, parent):
        source = self.files[path]
        module = Module(name, path, parent, (0, len(source.code)))
        self._fill(module, source)
        return module

    def _fill(self, module, source):
        """Registers the declarations of a module, or of a module within a file."""
        self.modules.append(module)
        inner = {}
        for block in source.blocks:
            if block.kind == "mod" and (not block.parent or block.parent.in_module()):
                inner[block] = None
        for kind, name, at, block, parent in source.module_items():
            while parent and parent.kind == "macro":
                parent = parent.parent
            owner = inner.get(parent, None) if parent else module
            if parent and owner is None:
                owner = inner[parent] = self._inline(inner, parent, module, source)
            if kind == "mod" and not block:
                path = rust.child_file(self.tree, source.path, name)
                if path in self.files:
                    owner.modules[name] = self._load(name, path, owner)
            elif kind == "mod":
                inner[block] = inner[block] or self._inline(inner, block, module, source)
            elif kind == "macro_rules":
                self.macros[name] = source.path
            elif kind in ("fn", "static", "const", *rust.TYPE_KINDS):
                owner.items[name] = Item(name, kind, source.path, owner, block)
            elif kind == "impl":
                self.impls.append((block, owner, source))
        for kind, _, at, text, _ in source.statements:
            if kind == "use":
                owner = self._at(module, at)
                for segments, alias in leaves(text[text.index("use") + 3 :]):
                    line = source.line(at)
                    public = text.startswith("pub")
                    self.uses.append((owner, segments, alias, line, public))
                    if alias == "*":
                        owner.globs.append(segments)
                    else:
                        owner.imports[alias] = segments

    def _inline(self, inner, block, module, source):
        parent = block.parent
        while parent and parent.kind == "macro":
            parent = parent.parent
        if parent and not inner[parent]:
            inner[parent] = self._inline(inner, parent, module, source)
        owner = inner[parent] if parent else module
        made = Module(block.name, source.path, owner, (block.opened, block.closed))
        self.modules.append(made)
        owner.modules[block.name] = made
        return made

    def _at(self, module, position):
        """Returns the innermost module of a file at a position."""
        for child in module.modules.values():
            if child.file == module.file and child.span[0] < position < child.span[1]:
                return self._at(child, position)
        return module

    def lookup(self, module, name, seen=()):
        """Returns the Module or Item that a name is in a module, or nothing."""
        if (module, name) in seen:
            return None
        seen = (*seen, (module, name))
        if name in module.items:
            return module.items[name]
        if name in module.modules:
            return module.modules[name]
        if name in module.imports:
            return self.resolve(module, module.imports[name], seen)[0]
        for segments in module.globs:
            inside = self.resolve(module, segments, seen)[0]
            if isinstance(inside, Module) and inside is not module:
                if found := self.lookup(inside, name, seen):
                    return found
        return None

    def resolve(self, module, segments, seen=()):
        """Returns the Module or Item to which a path leads, and the segments behind an item."""
        rest = list(segments)
        first = rest.pop(0)
        if first in ("crate", "$crate"):
            here = self.root
        elif first == "self":
            here = module
        elif first == "super":
            here = module.parent
        else:
            here = self.lookup(module, first, seen)
        while rest and isinstance(here, Module):
            name = rest.pop(0)
            here = here.parent if name == "super" else self.lookup(here, name, seen)
        return here, rest

    def type_of(self, module, text):
        """Returns the type that a text names, or nothing if the crate does not define it."""
        text = re.sub(r"&|'\w+|\b(?:mut|dyn|impl)\b", " ", text).strip()
        match = re.match(r"((?:\w+\s*::\s*)*\w+)\s*(<)?", text)
        if not match:
            return None
        segments = re.split(r"\s*::\s*", match[1])
        if segments[-1] in HOLDERS and match[2]:
            return self.type_of(module, text[match.end() :])
        found = self.resolve(module, segments)[0]
        return found if isinstance(found, Item) and found.kind in rust.TYPE_KINDS else None

    def _find_methods(self):
        """Finds the methods and fields of each type, by file."""
        for module in self.modules:
            for item in module.items.values():
                if item.block and item.kind in ("struct", "union"):
                    code = self.files[item.file].code
                    body = code[item.block.opened + 1 : item.block.closed]
                    for name, text in re.findall(r"\b(\w+)\s*:\s*([^:][^,\n]*)", body):
                        item.fields[name] = self.type_of(module, text)
                if item.kind == "trait" and item.block:
                    self._methods(item, item.block, self.files[item.file])
        self.bodies = []
        for block, module, source in self.impls:
            head = re.sub(r"\bwhere\b.*", "", block.head, flags=re.DOTALL).strip()
            head = without_generics(re.sub(r"^(?:unsafe\s+)?impl", "", head))
            trait, _, name = head.rpartition(" for ")
            item = self.type_of(module, name)
            if item:
                self._methods(item, block, source)
                self.bodies.append((item, block, source))
                if trait and (found := self.type_of(module, trait)):
                    item.traits.append(found)
        for module in self.modules:
            for item in module.items.values():
                if item.kind == "trait" and item.block:
                    self.bodies.append((item, item.block, self.files[item.file]))

    def _methods(self, item, within, source):
        for block in source.blocks:
            if block.kind == "fn" and block.parent is within:
                item.methods.setdefault(block.name, set()).add(source.path)
        for kind, name, _, _, parent in source.statements:
            if kind in ("fn", "const") and parent is within:
                item.methods.setdefault(name, set()).add(source.path)

    def homes(self, item, method):
        """Returns the files that define a method of a type."""
        if method in item.methods:
            return item.methods[method]
        return set().union(*(self.homes(trait, method) for trait in item.traits))

    def edges(self, room):
        """Returns {file: {needed file: {(line, why)}}} of the files below a folder."""
        inside = [path for path in self.files if path.startswith(room + "/")]
        nodes = {path for path in inside if not declares_only(self.files[path])}
        edges = {node: {} for node in nodes}

        def add(here, there, line, why):
            if here in nodes and there in nodes and here != there:
                edges[here].setdefault(there, set()).add((line, why))

        for here, there, line, why in (*self._by_use(), *self._by_path(), *self._by_call()):
            add(here, there, line, why)
        return edges

    def _needs(self, found, rest):
        """Yields the files that define a resolved path."""
        if isinstance(found, Item):
            yield found.file
            if rest:
                yield from self.homes(found, rest[0])

    def _by_use(self):
        for module, segments, alias, line, public in self.uses:
            code = self.files[module.file].code
            path = "::".join(segments)
            if alias == "*":
                inside = self.resolve(module, segments)[0]
                if isinstance(inside, Module):
                    for word in re.finditer(r"\b\w+\b", code):
                        found = self.lookup(inside, word[0])
                        if found and not self._own(module, word[0]):
                            for file in self._needs(found, ()):
                                why = f"`use {path}::*` and `{word[0]}`"
                                yield module.file, file, self._line(module, word.start()), why
                continue
            # A re-export is no need unless the file also uses the name.
            if public:
                outside = re.sub(r"\buse\b[^;]*;", lambda m: rust.blank(m[0]), code)
                used = re.search(rf"(?<![\w.:]){alias}\b", outside)
                if not used:
                    continue
                line = self._line(module, used.start())
            found, rest = self.resolve(module, segments)
            for file in self._needs(found, rest):
                yield module.file, file, line, f"`use {path}`"

    def _own(self, module, name):
        return name in module.items or name in module.modules or name in module.imports

    def _line(self, module, position):
        return self.files[module.file].line(position)

    def _by_path(self):
        for module in self.modules:
            if module.parent and module.parent.file == module.file:
                continue
            source = self.files[module.file]
            code = re.sub(r"\buse\b[^;]*;", lambda match: rust.blank(match[0]), source.code)
            for match in PATH.finditer(code):
                segments = re.split(r"\s*::\s*", match[0])
                if segments[0] == "Self":
                    continue
                found, rest = self.resolve(self._at(module, match.start()), segments)
                for file in self._needs(found, rest):
                    why = f"`{'::'.join(segments)}`"
                    yield module.file, file, source.line(match.start()), why
            for match in MACRO_CALL.finditer(code):
                if match[1] in self.macros:
                    why = f"`{match[1]}!`"
                    yield module.file, self.macros[match[1]], source.line(match.start()), why

    def _by_call(self):
        for item, block, source in self.bodies:
            code = source.code[block.opened : block.closed]
            for match in re.finditer(r"(?<![\w.:])Self\s*::\s*(\w+)", code):
                for file in self.homes(item, match[1]):
                    line = source.line(block.opened + match.start())
                    yield source.path, file, line, f"`Self::{match[1]}`, a method of {item.name}"
        owners = {block: item for item, block, _ in self.bodies}
        for module in self.modules:
            if module.parent and module.parent.file == module.file:
                continue
            source = self.files[module.file]
            for block in source.blocks:
                outer = block.parent
                while outer and outer.kind != "fn":
                    outer = outer.parent
                if block.kind == "fn" and not outer:
                    here = self._at(module, block.start)
                    yield from self._calls(here, source, block, owners.get(block.parent))

    def _calls(self, module, source, block, owner):
        """Yields the needs of the calls in a function."""
        code = source.code[block.start : block.closed]
        known = {"self": owner} if owner else {}
        for name, text in TYPED.findall(code):
            if item := self.type_of(module, text):
                known[name] = item
        for name, chain in BORROWED.findall(code):
            if item := self._walk(known, re.split(r"\s*\.\s*", chain)):
                known[name] = item
        for match in CALL.finditer(code):
            *fields, method = re.split(r"\s*\.\s*", match[2].strip().lstrip(".").strip())
            item = self._walk(known, [match[1], *fields])
            if not item:
                continue
            for file in self.homes(item, method):
                line = source.line(block.start + match.start())
                call = ".".join([match[1], *fields, method])
                yield source.path, file, line, f"`{call}(…)`, a method of {item.name}"

    def _walk(self, known, chain):
        item = known.get(chain[0])
        for field in chain[1:]:
            item = item.fields.get(field) if item else None
        return item


def without_generics(head):
    """Removes the text between angle brackets, but not the arrow `->`."""
    kept, depth = [], 0
    for at, sign in enumerate(head):
        if sign == "<":
            depth += 1
        elif sign == ">" and head[at - 1] != "-":
            depth -= 1
        elif depth == 0:
            kept.append(sign)
    return re.sub(r"\s+", " ", "".join(kept))


def leaves(text):
    """Yields (segments, alias) for each name that a `use` imports; a glob has the alias `*`."""
    text = text.strip().lstrip(":")
    opened = text.find("{")
    if opened >= 0:
        before = [s.strip() for s in text[:opened].split("::") if s.strip()]
        depth, start, inside = 0, opened + 1, text[: rust.closing(text, opened)]
        for at in range(opened + 1, len(inside) + 1):
            sign = inside[at] if at < len(inside) else ","
            depth += {"{": 1, "}": -1}.get(sign, 0)
            if sign == "," and depth == 0:
                if inside[start:at].strip():
                    for segments, alias in leaves(inside[start:at]):
                        if segments == ["self"]:
                            yield before, alias if alias != "self" else before[-1]
                        else:
                            yield before + segments, alias
                start = at + 1
        return
    path, _, alias = re.sub(r"\s+", " ", text).partition(" as ")
    segments = [s.strip() for s in path.split("::")]
    if segments[-1] == "*":
        yield segments[:-1], "*"
    else:
        yield segments, alias.strip() or segments[-1]


def declares_only(source):
    """Returns whether a file is a module's root that only declares and re-exports others."""
    if source.path.split("/")[-1] not in ("mod.rs", "lib.rs"):
        return False
    return all(
        kind == "use" or (kind == "mod" and not block)
        for kind, _, _, block, _ in source.module_items()
    )
