import inspect
import pathlib
from fractions import Fraction

import numpy as np
import pytest

from fastvae import kinds
from fastvae.errors import ConfigurationError


def refused(kind, value):
    with pytest.raises(ConfigurationError, match=r"^f: x=[^\n]* must be [^\n]*$"):
        kind.check("f", "x", value)


def test_an_integer_is_returned_as_int():
    for value in (3, np.int8(3), np.uint64(3), np.array(3)):
        assert type(kinds.integer().check("f", "x", value)) is int
    for value in (0, -1, 3.0, "3", None, True, np.True_, np.array([3]), 2**53 + 1, 2**70):
        refused(kinds.integer(), value)


def test_a_number_is_returned_as_float_and_judged_in_float32():
    for value in (1, np.float32(1), np.int64(1), Fraction(1), np.longdouble(1)):
        assert type(kinds.number(above=0).check("f", "x", value)) is float
    below = kinds.number(minimum=0, below=1)
    assert below.check("f", "x", 0.1) == 0.1
    for value in (1, 0.999999999, -1e-9, np.nan, True, np.False_, "0.5", None, 1j, [0.5], np.array([0.5])):
        refused(below, value)
    for value in (0, 1e-60, np.inf, 1e39, 10**400):
        refused(kinds.number(above=0), value)


def test_booleans_are_pythons_or_numpys():
    assert kinds.boolean.check("f", "x", np.True_) is True
    for value in (0, 1, "no", None, np.ones(1, bool), np.int8(1)):
        refused(kinds.boolean, value)


def test_paths_are_strings_that_are_not_empty_or_path_likes():
    assert kinds.path.check("f", "x", pathlib.Path("a")) == pathlib.Path("a")
    for value in ("", b"a", 5, None, True, "a\0b", ["a"]):
        refused(kinds.path, value)


def test_combinations():
    assert kinds.optional(kinds.size).check("f", "x", None) is None
    assert kinds.sequence(kinds.size, "sizes").check("f", "x", (1, np.int8(2))) == [1, 2]
    for value in ([0], "12", {1: 2}, 3, None, [1, "2"]):
        refused(kinds.sequence(kinds.size, "sizes"), value)
    refused(kinds.sequence(kinds.size, "sizes", shortest=1), [])
    either = kinds.either(kinds.choice("same"), kinds.pair_from_0)
    assert either.check("f", "x", "same") == "same" and either.check("f", "x", 2) == (2, 2)
    refused(either, "valid")


@kinds.checked(a=kinds.size, b=kinds.optional(kinds.size), c=kinds.size)
def outer(a, b=2, *, c: int = 3, **further):
    """What it does."""
    return a, b, c, further


@kinds.checked(outer, b=kinds.boolean, d=kinds.boolean)
def inner(b, **further):
    return b, further


def test_a_decorated_function_keeps_its_face():
    assert list(inspect.signature(outer).parameters) == ["a", "b", "c", "further"]
    assert (outer.__name__, outer.__doc__, outer.__module__) == ("outer", "What it does.", __name__)
    assert outer(np.int8(1), c=5, d=6) == (1, 2, 5, {"d": 6})


def test_what_is_passed_on_is_checked_too():
    assert inner(True, a=np.int8(1), d=np.True_, e="any") == (True, {"a": 1, "d": True, "e": "any"})
    for wrong in (dict(b=1), dict(b=True, a=0), dict(b=True, d="x")):
        with pytest.raises(ConfigurationError, match="^inner: "):
            inner(**wrong)


def test_what_is_given_is_checked_before_what_is_missing():
    with pytest.raises(ConfigurationError, match="outer: b=0"):
        outer(b=0)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        outer()
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
        outer(1, 2, 3)


def test_a_method_is_named_with_the_class_of_its_object():
    class Base:
        @kinds.checked(n=kinds.size)
        def __init__(self, n, name=None):
            pass

        @kinds.checked(n=kinds.size)
        def take(self, n):
            pass

    class Derived(Base):
        pass

    for call, owner in (
        (lambda: Derived(0), "Derived"),
        (lambda: Derived(0, name="a"), "Derived 'a'"),
        (lambda: Derived(1).take(0), "Derived.take"),
    ):
        with pytest.raises(ConfigurationError, match=f"^{owner}: n=0 must be an integer"):
            call()


def test_a_long_value_is_cut_and_stands_in_one_line():
    assert len(kinds.shown(np.zeros((100, 100)))) == kinds.LONGEST
    assert "\n" not in kinds.shown(np.zeros((9, 9)))
    refused(kinds.integer(), 10**5000)
