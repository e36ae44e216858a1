"""Gradients of slices against numpy and stock, over axes, starts and steps."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.cpu.ops.into_zeros import IntoZeros
from tests.backends.cpu import fast_path
from tests.backends.cpu.ops.running import LAYOUTS, compiled, drawn

SLICES = [
    np.s_[:, :, :28, :28],
    np.s_[:, 1:-1, 2:],
    np.s_[::2, :, 1::3, -4:-1],
    np.s_[:, :3],
    np.s_[:, :, 5:5],
    np.s_[:, -100:4:2],
]


def stock_mode():
    return theano.compile.get_default_mode().excluding("fastvae_onednn")


@pytest.fixture(scope="module")
def gradients():
    """The gradients of a function of every slice of x, with and without the backend."""
    x = tt.tensor4(dtype="float32")
    costs = [tt.sum(tt.sin(x[index])) for index in SLICES]
    outputs = [theano.grad(cost, x) for cost in costs]
    return theano.function([x], outputs), theano.function([x], outputs, mode=stock_mode())


@pytest.mark.parametrize("shape", [(64, 6, 29, 29), (1, 7, 28, 31), (3, 5, 30, 28), (0, 5, 30, 28)])
def test_gradients_of_slices_equal_stock(gradients, rng, shape):
    ours, stock = gradients
    x = rng.standard_normal(shape).astype("float32")
    for found, expected in zip(ours(x), stock(x)):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_every_one_is_one_threaded_pass(gradients):
    ops = [node.op for node in gradients[0].maker.fgraph.toposort()]
    assert sum(isinstance(op, IntoZeros) for op in ops) == len(SLICES)
    assert not any("IncSubtensor" in str(op) for op in ops)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_any_layout_and_fewer_axes(layout, rng):
    x = drawn(np.random.default_rng(0), 2, 3, 4, 5)
    lengths = [np.array(n) for n in (5, 3, 9, 7)]
    (y,) = compiled(IntoZeros((1, 0, -8, 2), (3, 1, 2, 1), [False] * 4), LAYOUTS[layout](x), *lengths)
    expected = np.zeros((5, 3, 9, 7), "float32")
    expected[1::3, :, -8::2, 2:] = x
    np.testing.assert_array_equal(y, expected)
    (vector,) = compiled(IntoZeros((2,), (2,), [False]), x[0, 0, 0], np.array(12))
    assert vector.nonzero()[0].tolist() == [2, 4, 6, 8, 10]


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="axis 1 of 4 zeros has no room for 3 numbers from 1 on in steps of 2"):
        compiled(IntoZeros((0, 1), (1, 2), [False] * 2), np.ones((2, 3), "float32"), np.array(2), np.array(4))
    with pytest.raises(ValueError, match="IntoZeros: axis 0 has a length of -1; give 0 or more"):
        compiled(IntoZeros((0,), (1,), [False]), np.ones(0, "float32"), np.array(-1))


def test_a_cropped_convolution_stays_on_the_fast_path():
    x, w = tt.tensor4(dtype="float32"), theano.shared(np.ones((8, 8, 2, 2), "float32"))
    y = tt.nnet.relu(tt.nnet.conv2d(x, w, border_mode="half")[:, :, :28, :28])
    function = theano.function([x], theano.grad(tt.sum(tt.nnet.conv2d(y, w)), w))
    assert not fast_path.single_threaded(function)
