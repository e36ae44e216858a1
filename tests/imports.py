"""Who imports whom in a package, read from its source text: nothing is imported for it.

Imports inside functions count too, those under `if TYPE_CHECKING:` do not. Names given to `importlib` are not seen.
"""

import ast
import pathlib
from collections import deque
from typing import NamedTuple


class Import(NamedTuple):
    """One import of a module: what it asks for, where, and whether it runs as soon as the module is imported."""

    target: str
    line: int
    at_once: bool


class Package:
    """The imports of all modules of a package.

    Parameters
    ----------
    folder : path-like
        Of the package, whose name is the folder's.

    Attributes
    ----------
    imports : dict of str to list of Import
        By module. Targets within the package are modules of it; of others only the first part of their name is kept.
    """

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.name = folder.name
        self.files = {}
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            self.files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        self.imports = {module: list(self._imports_of(module)) for module in self.files}

    def _imports_of(self, module):
        tree = ast.parse(self.files[module].read_text(encoding="utf-8"))
        for node, at_once in _statements(tree, at_once=True):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [f"{self._origin(module, node)}.{alias.name}" for alias in node.names]
            for target in dict.fromkeys(map(self._module, names)):
                yield Import(target, node.lineno, at_once)

    def _origin(self, module, node):
        """The full name of what a `from ... import` takes names from."""
        if not node.level:
            return node.module
        package = module.split(".")
        if self.files[module].name != "__init__.py":
            package.pop()
        package = package[: len(package) - node.level + 1]
        return ".".join([*package, *filter(None, [node.module])])

    def _module(self, name):
        """The module of this package that a dotted name is in, or the first part of a foreign name."""
        if name.split(".")[0] != self.name:
            return name.split(".")[0]
        while name not in self.files:
            name = name.rpartition(".")[0]
        return name

    def room(self, module):
        """The folder or module at the top of the package that a module belongs to; the package itself is its own."""
        return ".".join(module.split(".")[:2])

    def path(self, start, goal, at_once=False):
        """The shortest chain of imports from a module to another one, as a list of modules; None if there is none.

        With `at_once` it is made of imports that run when `start` is imported, and of the packages that modules are in.
        """
        seen, queue = {start}, deque([[start]])
        while queue:
            chain = queue.popleft()
            found = [each.target for each in self.imports.get(chain[-1], ()) if each.at_once or not at_once]
            if at_once:
                found = [module for target in found for module in self._with_packages(target)]
            for target in found:
                if target == goal:
                    return [*chain, target]
                if target not in seen:
                    seen.add(target)
                    queue.append([*chain, target])
        return None

    def _with_packages(self, module):
        """A module and the packages below the top one that it is in, which are imported before it."""
        parts = module.split(".")
        return [module] + [".".join(parts[:n]) for n in range(2, len(parts))]


def _statements(tree, at_once):
    """The imports below a node, each with whether it runs when the module does."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, at_once
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield from _statements(ast.Module([other], []), at_once)
        else:
            is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _statements(node, at_once and not is_function)
