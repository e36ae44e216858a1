"""Pooling and its gradient, where no backend takes them: against each other and stock, finite differences, and rows."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.tensor.signal.pool import pool_2d

from fastvae.backends.abstract.pool import MODES, Pool, PoolGradient
from fastvae.elbo.rowwise import first_mixing

PYTHON = theano.Mode(linker="py", optimizer=None)  # `perform`
STOCK = theano.Mode(linker="cvm", optimizer="fast_run").excluding("fastvae_onednn")
GEOMETRIES = [((2, 2), (2, 2), (0, 0), True), ((3, 2), (1, 2), (2, 1), True), ((3, 2), (2, 3), (0, 0), False)]


@pytest.mark.parametrize("mode", MODES)
def test_numpy_and_stock_agree_on_values_and_gradients(mode):
    x = tt.tensor4(dtype="float32")
    rng = np.random.default_rng(0)
    ops = [Pool(*geometry, mode, ignore) for *geometry, ignore in GEOMETRIES]
    outputs = [y for op in ops for y in (op(x), tt.grad(tt.sum(op(x) ** 2), x))]
    stock = theano.function([x], outputs, mode=STOCK)
    assert not any(isinstance(node.op, (Pool, PoolGradient)) for node in stock.maker.fgraph.apply_nodes)
    images = rng.integers(-2, 3, (2, 2, 5, 4)).astype("float32")
    if mode == "max":
        images[0, 0, :2, 1] = np.nan
    for value, expected in zip(theano.function([x], outputs, mode=PYTHON)(images), stock(images)):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_equal_finite_differences_twice(mode):
    op = Pool((3, 2), (2, 1), (1, 1), mode)
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 3))
    theano.tensor.verify_grad(op, [x], rng=np.random.RandomState(0), mode=PYTHON)
    weights = np.random.default_rng(1).normal(size=(2, 1, 2, 4))
    result = [op(tt.constant(x)).eval()] if mode == "max" else []
    gradient = PoolGradient(*op.geometry(), mode)
    theano.tensor.verify_grad(
        lambda g: gradient(x, *result, g), [weights], rng=np.random.RandomState(0), mode=theano.Mode("cvm", None)
    )


def test_shapes_are_known_without_the_images_and_rows_stay_apart():
    x = tt.tensor4(dtype="float32")
    for *geometry, ignore in GEOMETRIES:
        y = Pool(*geometry, ignore_border=ignore)(x)
        shape = theano.function([x], y.shape, mode=STOCK)
        assert not any(isinstance(node.op, Pool) for node in shape.maker.fgraph.apply_nodes)
        for size in [(5, 4), (2, 3), (1, 1), (9, 8)]:
            images = np.zeros((3, 1, *size), "float32")
            assert shape(images).tolist() == list(y.eval({x: images}).shape)
        assert first_mixing([y, tt.grad(None, x, known_grads={y: y})], [x]) is None
    assert first_mixing([pool_2d(x, (2, 2), ignore_border=True)], [x]) is None
    matrix = tt.fmatrix()
    assert first_mixing([pool_2d(matrix, (2, 2), ignore_border=True)], [matrix]).startswith("Pool")
