"""Places in arrays: their expressions are those of C order, and equal places have equal names."""

import itertools

import numpy as np
import pytest

from fastvae.backends.gpu.fused.places import Place, Scope, broadcast, packed


def evaluated(scope, expression, **names):
    """The value of a scope's expression."""
    for line in scope.lines:
        name, value = line.removeprefix("const ga_uint ").rstrip(";").split(" = ")
        names[name] = eval(value.replace("/", "//"), {}, names)
    return eval(expression.replace("(ga_ssize)", "").replace("/", "//"), {}, names)


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 5, 1, 2), (7,), (), (1, 1)])
def test_number_and_axes_are_two_ways_to_say_the_same(shape):
    for number, where in enumerate(itertools.product(*map(range, shape))):
        scope = Scope("ga_uint")
        axes = scope.axes(Place(shape, number="n"))
        assert tuple(evaluated(scope, e, n=number) for e in axes) == where
        scope = Scope("ga_uint")
        names = {f"x{i}": at for i, at in enumerate(where)}
        assert evaluated(scope, scope.number(Place(shape, list(names))), **names) == number


def test_offsets_are_those_of_the_strides():
    array = np.arange(24).reshape(4, 6)[::-1, ::2]
    strides = tuple(s // array.itemsize for s in array.strides)
    for at in np.ndindex(array.shape):
        scope = Scope("ga_uint")
        offset = evaluated(scope, scope.offset(Place(array.shape, ["i", "j"]), strides), i=at[0], j=at[1])
        assert array.base.ravel()[18 + offset] == array[at]


def test_a_broadcast_axis_has_one_place():
    scope = Scope("ga_uint")
    place = Place((4, 5, 6), number="n")
    assert broadcast(place, (4, 5, 6), scope) is place
    assert broadcast(place, (5, 1), scope).axes[1] == "0"
    assert broadcast(Place((1, 5), number="n"), (5,), scope).number == "n"
    assert packed((4, 1, 6)) == (6, 0, 1)


def test_what_was_computed_has_a_name_within_its_braces_only():
    outer = Scope("ga_uint")
    inner = outer.inner()
    name = inner.computed("n + 1")
    assert inner.computed("n + 1") == name and outer.known("n + 1") is None
    assert outer.computed("n + 1") != name
