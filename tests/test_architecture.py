"""The rooms of the package and who may import whom (`fastvae/ARCHITECTURE.md` draws the map)."""

import pytest

from tests.conftest import ROOT
from tests.imports import Package

# The floors of the house from the top. A module imports from its own room and from lower floors, never from its own
# floor's other rooms or from above. `fastvae` itself starts the stack, so what needs `fastvae.__version__` is above it.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("examples", "report"),
    ("models",),
    ("training",),
    ("checkpoint",),
    ("",),
    ("evaluation", "minibatch", "stack"),
    ("elbo",),
    ("likelihoods", "optimizers", "posteriors", "schedules"),
    ("profiles",),
    ("distributions",),
    ("datasets", "nn", "plots"),
    ("backends",),
    ("devices",),
    ("arguments", "atomic", "expressions", "parallel", "run_options", "shared"),
    ("files", "kinds", "locks", "renamed"),
    ("compilation", "errors", "interrupts", "messages", "timing"),
)
SHARED_BY_BACKENDS = ("fastvae.backends.abstract", "fastvae.backends.rewrites")
BACKENDS = ("fastvae.backends.cpu", "fastvae.backends.gpu")
# Rooms that may be imported before a device is chosen: they import Theano inside functions at most.
WITHOUT_THEANO = (
    *("__main__", "arguments", "atomic", "cli", "datasets", "devices", "errors", "files", "interrupts", "kinds"),
    *("locks", "messages", "profiles", "renamed", "report", "run_options", "timing"),
)
COMMANDS = "fastvae.cli.commands"  # of `cli` the one module that is imported when the device has been chosen
IMPORT_THEANO = ("theano", "pymc3")


@pytest.fixture(scope="module")
def house():
    return Package(ROOT / "fastvae")


def cycles(package):
    """Chains of imports that end where they begin."""
    found = {module: package.path(module, module) for module in package.files}
    return [" -> ".join(chain) for chain in found.values() if chain]


def upward(package, floors):
    """Imports that do not run downwards, one line each."""
    height = {f"{package.name}.{room}".rstrip("."): -i for i, floor in enumerate(floors) for room in floor}
    for module, imports in package.imports.items():
        here = package.room(module)
        for each in imports:
            there = package.room(each.target)
            if there in height and here != there and height[there] >= height[here]:
                yield f"{package.files[module].name}:{each.line}: {module} imports {each.target}"


def inside(package, *names):
    """The modules of some packages."""
    return [module for module in package.files if any(f"{module}.".startswith(f"{name}.") for name in names)]


def test_every_room_has_its_floor(house):
    rooms = {house.room(module) for module in house.files}
    declared = [f"fastvae.{room}".rstrip(".") for floor in FLOORS for room in floor]
    assert len(declared) == len(set(declared))
    assert set(declared) == rooms


def test_no_module_imports_itself_through_others(house):
    assert cycles(house) == []


def test_no_import_runs_upwards(house):
    assert list(upward(house, FLOORS)) == []


@pytest.mark.parametrize("one, other", [BACKENDS, BACKENDS[::-1]])
def test_no_backend_reaches_another(house, one, other):
    modules, forbidden = inside(house, one), inside(house, other)
    assert modules and forbidden
    assert [chain for module in modules for goal in forbidden if (chain := house.path(module, goal))] == []


def test_what_backends_share_reaches_none(house):
    modules, backends = inside(house, *SHARED_BY_BACKENDS), inside(house, *BACKENDS)
    assert len(modules) > 2
    assert [chain for module in modules for goal in backends if (chain := house.path(module, goal))] == []


@pytest.mark.parametrize("room", WITHOUT_THEANO)
def test_a_room_can_be_imported_without_theano(house, room):
    modules = [module for module in inside(house, f"fastvae.{room}") if module != COMMANDS]
    assert modules
    chains = [house.path(module, name, at_once=True) for module in modules for name in IMPORT_THEANO]
    assert [" -> ".join(chain) for chain in chains if chain] == []


class TestOfTheTests:
    """What the checks above notice, in a package made for it."""

    @pytest.fixture
    def package(self, tmp_path):
        def write(**files):
            for name, text in {"__init__": "", **files}.items():
                path = tmp_path / "house" / f"{name.replace('__in__', '/')}.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return Package(tmp_path / "house")

        return write

    def test_a_cycle_through_a_function_and_a_relative_import(self, package):
        found = package(
            a="def f():\n    from house import b\n",
            b="from house.c.inner import x\n",
            c__in____init__="",
            c__in__inner="class A:\n    from .. import a\n",
        )
        assert cycles(found)[0] == "house.a -> house.b -> house.c.inner -> house.a" and len(cycles(found)) == 3

    def test_an_import_for_type_checkers_is_none(self, package):
        text = "import typing\nif typing.TYPE_CHECKING:\n    from house import b\nelse:\n    import os\n"
        found = package(a=text, b="from house import a\n")
        assert cycles(found) == [] and [each.target for each in found.imports["house.a"]] == ["typing", "os"]

    def test_an_import_upwards_and_one_to_a_neighbour(self, package):
        found = package(top="from house import left\n", left="from house import right", right="import house.top as t")
        floors = (("", "top"), ("left", "right"))
        assert list(upward(found, floors)) == [
            "left.py:1: house.left imports house.right",
            "right.py:1: house.right imports house.top",
        ]

    def test_theano_through_a_package_but_not_in_a_function(self, package):
        found = package(
            late="def f():\n    import theano\n",
            soon="try:\n    from house.c import inner\nexcept ImportError:\n    pass\n",
            c__in____init__="import theano.tensor as tt",
            c__in__inner="",
        )
        assert found.path("house.late", "theano", at_once=True) is None
        assert found.path("house.late", "theano") == ["house.late", "theano"]
        assert found.path("house.soon", "theano", at_once=True) == ["house.soon", "house.c", "theano"]
