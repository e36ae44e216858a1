"""Upsampling and its gradient, where no backend takes them: against numpy, finite differences, and row by row."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.abstract.upsample import BlockSum, Upsample
from fastvae.backends.rewrites.recognise import recognise
from fastvae.elbo.merge import merge_equal_nodes
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


def by_hand(x):
    n, c, h, w = x.shape
    return tt.alloc(x.dimshuffle(0, 1, 2, "x", 3, "x"), n, c, h, 2, w, 3).reshape((n, c, -1, 3 * w))


def times_ones(x, ones):
    n, c, h, w = x.shape
    return (x.dimshuffle(0, 1, 2, "x", 3, "x") * ones).reshape((n, c, 2 * h, 3 * w))


SPELLINGS = {
    "repeat": (lambda x: tt.repeat(tt.repeat(x, 2, axis=2), 3, axis=3), (2, 3)),
    "in the other order": (lambda x: tt.repeat(tt.repeat(x, 3, axis=-1), 2, axis=2), (2, 3)),
    "one axis": (lambda x: tt.repeat(x, 2, axis=3), (1, 2)),
    "a factor of 1": (lambda x: tt.repeat(tt.repeat(x, 1, axis=2), 2, axis=3), (1, 2)),
    "by hand": (by_hand, (2, 3)),
    "times ones": (lambda x: times_ones(x, tt.ones((1, 1, 1, 2, 1, 3), "float32")), (2, 3)),
    "times a constant": (lambda x: times_ones(x, tt.constant(np.ones((1, 1, 1, 2, 1, 3), "float32"))), (2, 3)),
    "times twos": (lambda x: times_ones(x, tt.constant(np.full((1, 1, 1, 2, 1, 3), np.float32(2)))), None),
    "channels": (lambda x: tt.repeat(x, 2, axis=1), None),
    "a variable factor": (lambda x: tt.repeat(x, x.shape[0], axis=2), None),
    "axes exchanged": (lambda x: by_hand(x).reshape((x.shape[0], x.shape[1], 3 * x.shape[3], 2 * x.shape[2])), None),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_what_users_write_for_it(name):
    spelled, factors = SPELLINGS[name]
    x = tt.tensor4("x", dtype="float32")
    y = spelled(x)
    (new,), _ = recognise(merge_equal_nodes([y]))
    assert new.owner.op == Upsample(factors) if factors else not isinstance(new.owner.op, Upsample)
    if factors:
        images = np.random.default_rng(0).normal(size=(2, 1, 3, 4)).astype("float32")
        outputs = [v for z in (y, new) for v in (z, tt.grad(tt.sum(z**3), x))]
        expected, of_expected, value, of_value = theano.function([x], outputs, mode=STOCK)(images)
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_allclose(of_value, of_expected, rtol=1e-6)
