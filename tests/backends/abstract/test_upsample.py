"""Upsampling and its gradient, where no backend takes them: against numpy, finite differences, and row by row."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.abstract.upsample import BlockSum, Upsample
from fastvae.elbo.rowwise import first_mixing

PYTHON = theano.Mode(linker="py", optimizer=None)  # `perform`
STOCK = theano.Mode(linker="py", optimizer="fast_run").excluding("fastvae_onednn")


@pytest.mark.parametrize("mode", [PYTHON, STOCK], ids=["perform", "stock"])
def test_values(mode):
    x = np.arange(48, dtype="float32").reshape(1, 2, 4, 6)
    variable = tt.tensor4(dtype="float32")
    outputs = [Upsample((2, 3))(variable), BlockSum((2, 3))(variable)]
    larger, smaller = theano.function([variable], outputs, mode=mode)(x)
    np.testing.assert_array_equal(larger, x.repeat(2, axis=2).repeat(3, axis=3))
    np.testing.assert_array_equal(smaller, x.reshape(1, 2, 2, 2, 2, 3).sum((3, 5)))


@pytest.mark.parametrize("op", [Upsample((2, 3)), BlockSum((2, 3))], ids=str)
def test_gradient_equals_finite_differences(op):
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 3)).astype("float64")
    theano.tensor.verify_grad(op, [x], rng=np.random.RandomState(0), mode=PYTHON)


def test_shapes_are_known_without_the_images_and_rows_stay_apart():
    x = tt.tensor4(dtype="float32")
    y = BlockSum((3, 3))(Upsample((3, 3))(x))
    shape = theano.function([x], y.shape, mode=STOCK)
    assert shape(np.zeros((5, 1, 2, 4), "float32")).tolist() == [5, 1, 2, 4]
    assert not any(isinstance(node.op, (Upsample, BlockSum)) for node in shape.maker.fgraph.apply_nodes)
    assert first_mixing([y], [x]) is None
