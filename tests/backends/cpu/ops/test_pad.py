"""Zeros around and between pixels on the CPU: against numpy, in every memory layout, and as users spell them."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from hypothesis import given
from hypothesis import strategies as st

from fastvae.backends.abstract import pad
from fastvae.backends.cpu.ops.pad import Pad, Unpad
from tests.backends.cpu.ops.running import LAYOUTS, SWEEP, by_any_threads, compiled, drawn

PAIR = st.tuples(st.integers(0, 3), st.integers(0, 3))


@SWEEP
@given(
    n=st.sampled_from([0, 1, 3]),
    c=st.sampled_from([1, 3, 16]),
    size=st.tuples(st.integers(1, 5), st.integers(1, 7)),
    low=PAIR,
    high=PAIR,
    step=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_values(n, c, size, low, high, step, layout):
    x = drawn(np.random.default_rng(c), n, *size, c)
    rows, columns = ((s - 1) * f + 1 + a + b for s, f, a, b in zip(size, step, low, high))
    expected = np.zeros((n, rows, columns, c), "float32")
    index = [slice(a, a + (s - 1) * f + 1, f) for a, s, f in zip(low, size, step)]
    expected[:, index[0], index[1]] = x
    np.testing.assert_array_equal(compiled(Pad(pad.Pad(low, high, step)), LAYOUTS[layout](x))[0], expected)
    larger = drawn(np.random.default_rng(c), *expected.shape)
    (smaller,) = compiled(Unpad(pad.Unpad(low, high, step)), LAYOUTS[layout](larger))
    np.testing.assert_array_equal(smaller, larger[:, index[0], index[1]])


def test_large_images_in_parallel():
    x = drawn(np.random.default_rng(0), 5, 21, 23, 17)
    (larger,) = by_any_threads(Pad(pad.Pad((1, 0), (2, 1), (2, 1))), x)
    expected = np.zeros((5, 44, 24, 17), "float32")
    expected[:, 1:42:2, :23] = x
    np.testing.assert_array_equal(larger, expected)
    np.testing.assert_array_equal(by_any_threads(Unpad(pad.Unpad((1, 0), (2, 1), (2, 1))), larger)[0], x)


def test_what_is_not_padded_is_an_error():
    with pytest.raises(ValueError, match="Unpad: images of 2 x 4 are none between these zeros"):
        compiled(Unpad(pad.Unpad((0, 1), (0, 1), (2, 1))), np.zeros((1, 2, 4, 1), "float32"))


def test_a_graph_that_spells_it_out(stock):
    x = tt.tensor4("x", dtype="float32")
    n, c, h, w = x.shape
    y = tt.set_subtensor(tt.zeros((n, c, 2 * h, 3 * w))[:, :, ::2, ::3], x)
    ours, stocks = (theano.function([x], y, mode=mode) for mode in (None, stock))
    assert any(isinstance(node.op, Pad) for node in ours.maker.fgraph.apply_nodes)
    images = drawn(np.random.default_rng(0), 2, 3, 4, 5)
    np.testing.assert_array_equal(ours(images), stocks(images))
