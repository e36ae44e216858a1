"""`pytest -m quick` touches every room, and what it names is there."""

import ast

import pytest

from tests.conftest import ROOT
from tests.imports import Package
from tests.quick import QUICK


def rooms():
    """The rooms of the package but the package itself and `python -m fastvae`, which is the command line."""
    house = Package(ROOT / "fastvae")
    return sorted({house.room(module).partition(".")[2] for module in house.files} - {"", "__main__"})


def room_of(entry):
    """The room that a file of `fastvae/` is in, or that one of `tests/` mirrors."""
    return entry.partition("::")[0].split("/")[1].removesuffix(".py").removeprefix("test_")


@pytest.mark.parametrize("room", rooms())
def test_every_room_has_a_quick_test(room):
    assert room in map(room_of, QUICK)


@pytest.mark.parametrize("entry", QUICK)
def test_what_is_named_is_there(entry):
    file, _, name = entry.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert name in functions if name else file.startswith("fastvae/") or any(f.startswith("test_") for f in functions)


def test_the_named_tests_bear_the_marker(request):
    own = [item for item in request.session.items if item.nodeid.startswith("tests/test_quick.py")]
    assert own and all(item.get_closest_marker("quick") for item in own)
