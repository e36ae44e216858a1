"""Concatenation and its opposite on the CPU: against numpy, in every memory layout, and between convolutions."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from hypothesis import given
from hypothesis import strategies as st

from fastvae.backends import abstract
from fastvae.backends.cpu.ops.concatenate import Concatenate, Split
from tests.backends.cpu.ops.running import LAYOUTS, SWEEP, by_any_threads, compiled, drawn


@SWEEP
@given(
    shape=st.lists(st.sampled_from([0, 1, 3, 16]), min_size=2, max_size=4),
    lengths=st.lists(st.sampled_from([0, 1, 2, 32]), min_size=1, max_size=4),
    layout=st.sampled_from(sorted(LAYOUTS)),
    data=st.data(),
)
def test_values(shape, lengths, layout, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    rng = np.random.default_rng(len(lengths))
    parts = [drawn(rng, *shape[:axis], length, *shape[axis + 1 :]) for length in lengths]
    whole = np.concatenate(parts, axis)
    np.testing.assert_array_equal(compiled(Concatenate(axis), *map(LAYOUTS[layout], parts))[0], whole)
    found = compiled(Split(axis, len(parts)), LAYOUTS[layout](whole), np.array(lengths, "int64"))
    for part, expected in zip(found, parts):
        np.testing.assert_array_equal(part, expected)


def test_large_images_in_parallel():
    parts = [drawn(np.random.default_rng(c), 7, 23, 29, c) for c in (16, 3, 32)]
    (whole,) = by_any_threads(Concatenate(3), *parts)
    np.testing.assert_array_equal(whole, np.concatenate(parts, 3))
    for part, expected in zip(by_any_threads(Split(3, 3), whole, np.array([16, 3, 32])), parts):
        np.testing.assert_array_equal(part, expected)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="Concatenate: along axis 1, the arrays have 2 and 3 elements in axis 0"):
        compiled(Concatenate(1), np.zeros((2, 2), "float32"), np.zeros((3, 2), "float32"))
    for lengths in ([1, 2], [4, -1, 0], [1, 2, 1]):
        with pytest.raises(ValueError, match="Split: the parts' lengths do not make the 3 elements along axis 1"):
            compiled(Split(1, 3), np.zeros((2, 3), "float32"), np.array(lengths, "int64"))


def test_between_convolutions_the_gradient_is_stocks(stock, close):
    rng = np.random.default_rng(0)
    x, first, second = drawn(rng, 2, 3, 6, 6), drawn(rng, 4, 3, 3, 3), drawn(rng, 2, 7, 3, 3)
    first, second = theano.shared(first), theano.shared(second)
    h = abstract.conv2d(tt.constant(x), first)
    y = abstract.conv2d(tt.concatenate([h, abstract.conv2d(tt.constant(x), first[:3]) * 2], axis=1), second)
    outputs = [y, *theano.grad(tt.sum(y**2), [first, second])]
    function = theano.function([], outputs)
    nodes = function.maker.fgraph.apply_nodes
    axes = {kind: [node.op.axis for node in nodes if isinstance(node.op, kind)] for kind in (Concatenate, Split)}
    assert axes == {Concatenate: [3], Split: [3]}
    for value, expected in zip(function(), theano.function([], outputs, mode=stock)()):
        close(value, expected)
