"""What the package offers by its name: the same names when it runs, and to type checkers."""

import ast
import importlib

import fastvae
from tests.conftest import ROOT


def test_type_checkers_see_the_public_names():
    tree = ast.parse((ROOT / "fastvae" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {}
    for imported in block.body:
        (alias,) = imported.names
        assert alias.asname == alias.name  # otherwise it is private to a type checker
        seen[alias.name] = imported.module
    assert seen.keys() == set(fastvae.__all__)
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name) is getattr(fastvae, name)


def test_a_name_that_is_not_there_is_an_attribute_error():
    assert not hasattr(fastvae, "no_such_name")
