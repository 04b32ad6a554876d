"""The repository as the checks see it: its files, and the problems found in them."""

import os
import pathlib
import subprocess
from typing import NamedTuple

# The folders that the project builds, without the folder that tests it.
PRODUCT = ("core-nostd", "frontend-linux")


class Problem(NamedTuple):
    """A fault, with its place and its remedy."""

    path: str
    line: int
    what: str
    remedy: str
    details: tuple = ()

    def __str__(self):
        head = f"{self.path}:{self.line}: {self.what}: {self.remedy}"
        return "\n".join([head, *(f"    {detail}" for detail in self.details)])


class Tree:
    """A folder with the layout of this repository. Each file is read once."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self._texts = {}
        self.files = sorted(self._list())

    def _list(self):
        """Returns all files as paths from the root, without build products, which git knows."""
        if (self.root / ".git").exists():
            command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
            listed = subprocess.run(command, cwd=self.root, capture_output=True, check=True)
            names = {name for name in listed.stdout.decode().split("\0") if name}
            return [name for name in names if (self.root / name).is_file()]
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = [f for f in folders if f not in ("target", "__pycache__")]
            found += [str((pathlib.Path(folder) / n).relative_to(self.root)) for n in names]
        return found

    def text(self, path):
        """Returns the text of a file, or an empty text if the file has none."""
        if path not in self._texts:
            try:
                self._texts[path] = (self.root / path).read_text(encoding="utf-8")
            except (UnicodeDecodeError, FileNotFoundError):
                self._texts[path] = ""
        return self._texts[path]

    def lines(self, path):
        return self.text(path).split("\n")

    def exists(self, path):
        return (self.root / path).exists()

    def under(self, *folders, ending=""):
        """Returns the files below some folders whose names end in `ending`."""
        heads = tuple(folder.rstrip("/") + "/" for folder in folders)
        return [f for f in self.files if f.startswith(heads) and f.endswith(ending)]

    def product_sources(self):
        """Returns the Rust files of the product's `src` folders, including those of tests."""
        return [f for f in self.under(*PRODUCT, ending=".rs") if is_source(f)]


def is_source(path):
    """Returns whether a path is `core-nostd/src/…` or `frontend-linux/CRATE/src/…`."""
    parts = path.split("/")
    return parts[:2] == ["core-nostd", "src"] or (
        parts[0] == "frontend-linux" and len(parts) > 3 and parts[2] == "src"
    )


def line_at(text, position):
    """Returns the number, from 1, of the line that has a position."""
    return text.count("\n", 0, position) + 1
