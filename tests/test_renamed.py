import pydoc
import sys
import types
import warnings

import pytest

from fastvae import kinds, renamed
from fastvae.errors import ConfigurationError


@renamed.arguments(order="sampler")
@kinds.checked(n=kinds.integer(), sampler=kinds.choice("rows", "columns"))
def draw(n, *, sampler="rows"):
    return n, sampler


class Model:
    def encode(self, x):
        return x + 1


class Doubled(Model):
    def encode(self, x):
        return 2 * x


renamed.method(Doubled, "encoded", "encode")  # and of Model, which it inherits from


@pytest.fixture
def module(monkeypatch):
    module = types.ModuleType("fastvae_renamed_example")
    module.rectangle = object()
    module.__getattr__ = renamed.names(module.__name__, square="rectangle", loads="json.loads")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def warned(text):
    return pytest.warns(renamed.RenamedWarning, match=rf"^{text}: the old name still works, please change it$")


def test_a_module_finds_an_old_name_and_one_that_moved(module):
    import json

    with warned(r"fastvae_renamed_example\.square is now fastvae_renamed_example\.rectangle"):
        assert module.square is module.rectangle
    with warned(r"fastvae_renamed_example\.loads is now json\.loads"):
        from fastvae_renamed_example import loads
    assert loads is json.loads
    with pytest.raises(AttributeError, match="module 'fastvae_renamed_example' has no attribute 'circle'"):
        module.circle  # noqa: B018


def test_a_class_finds_methods_by_their_old_names():
    with warned(r"Model\.encoded is now Model\.encode"):
        assert Model().encoded(3) == 4
    with warned(r"Doubled\.encoded is now Doubled\.encode"):
        assert Doubled().encoded(3) == 6
    with warned(r"Doubled\.encoded is now Doubled\.encode"):
        assert Doubled.encoded(Doubled(), 3) == 6


def test_help_on_a_class_is_no_use_of_its_old_names():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "encode(self, x)" in pydoc.render_doc(Doubled, renderer=pydoc.plaintext)


def test_a_function_takes_an_argument_by_its_old_name():
    with warned(r"draw\(\.\.\., order=\) is now sampler="):
        assert draw(3, order="columns") == (3, "columns")
    with pytest.raises(ConfigurationError, match=r"^draw: order= is now sampler=, and both are given: leave order= "):
        draw(3, order="rows", sampler="rows")
    with warned(r"draw.*"), pytest.raises(ConfigurationError, match="^draw: sampler='no' must be one of"):
        draw(3, order="no")
    assert draw.kinds.keys() == {"n", "sampler"}


def test_new_names_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw(3, sampler="columns") == (3, "columns") and Model().encode(3) == 4


def test_the_line_of_the_users_program_is_named():
    with warned(r"draw.*") as caught:
        draw(3, order="columns")
    assert caught[0].filename == __file__


def test_python_shows_it_once_for_each_line(run, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys; sys.argv = ['fastvae']\n"  # as the command line, so that the stack is not started
        "from fastvae import renamed\n"
        "@renamed.arguments(old='new')\n"
        "def f(new): pass\n"
        "for _ in range(3): f(old=1)\n"
        "f(old=1)\n"
    )
    done = run(sys.executable, program)
    said = [line for line in done.stderr.splitlines() if "RenamedWarning" in line]
    assert [line.partition(":")[2].partition(":")[0] for line in said] == ["5", "6"]
    assert said[0].startswith(f"{program}:5: RenamedWarning: f(..., old=) is now new=")
