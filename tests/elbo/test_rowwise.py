"""Which expressions are known to work row by row, each answer checked by computing rows apart."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.gof import Apply
from theano.tensor.nnet.abstract_conv import bilinear_upsampling
from theano.tensor.signal.pool import pool_2d

from fastvae import nn
from fastvae.backends.abstract import AbstractOp, categorical, discretized_logistic
from fastvae.elbo.rowwise import first_mixing
from tests.linear_gaussian import QUICK

ROWS, SIZE = 3, 4
x, y = tt.fmatrix("x"), tt.fmatrix("y")
square = theano.shared(np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype("float32"), "square")
image_weight = theano.shared(np.random.default_rng(1).normal(size=(2, 1, 2, 2)).astype("float32"), "image_weight")
image = x.reshape((x.shape[0], 1, 2, 2))

ROW_BY_ROW = {
    "elementwise": tt.tanh(x) * y + square[0],
    "product": tt.dot(x, square),
    "dense layer": nn.Linear(SIZE, 2, nn.relu, rng=0)(x),
    "reshape": image,
    "flatten": image.flatten(2),
    "rest of the shape": image.reshape((image.shape[0], image.shape[2], -1)),
    "convolution": nn.Conv2D(1, 2, 2, rng=0)(image),
    "transposed convolution": nn.ConvTranspose2D(1, 2, 2, rng=0)(image),
    "stock convolution": tt.nnet.conv2d(image, image_weight),
    "pooling before a convolution": tt.nnet.conv2d(
        pool_2d(image, (2, 2), ignore_border=True, stride=(1, 1), pad=(1, 1)), image_weight
    ),
    "repeated pixels": tt.repeat(tt.repeat(image, 2, axis=2), 3, axis=3),
    "bilinear upsampling, a convolution": bilinear_upsampling(image, 2),
    "every second pixel": tt.set_subtensor(
        tt.zeros((image.shape[0], image.shape[1], 2 * image.shape[2], image.shape[3]))[:, :, ::2], image
    ),
    "stock relu": tt.nnet.relu(x),
    "softmax": tt.nnet.softmax(x),
    "mean of a row": x - x.mean(axis=1, keepdims=True),
    "largest of a row": x.max(axis=1),
    "join": tt.concatenate([x, y], axis=1),
    "column": x[:, 1],
    "new axis": x[:, None, :],
    "zeros for each row": tt.zeros((x.shape[0], 2)) + x[:, :2],
    "embedding": square[tt.cast(tt.clip(x[:, 0], 0, 3), "int64")],
    "batched product": tt.batched_dot(x, y),
    "log-probability of a level": categorical.log_prob(y[:, :1, None, None], x[:, :, None, None], SIZE),
    "log-probability of a logistic": discretized_logistic.log_prob(y[:, :2, None, None], x[:, :, None, None], 1),
}
MIXING = {
    "mean over rows": x - x.mean(axis=0),
    "sum": tt.sum(x),
    "transpose": x.T,
    "a fixed number of rows": x.reshape((ROWS, 2, 2)),
    "an unknown number of rows": x.reshape((-1, SIZE)),
    "rows in another order": x[::-1],
    "one row": x[:1],
    "a constant for each row": x + square[:ROWS],
    "rows as a product's columns": tt.dot(square[:, :ROWS], x),
    "join of rows": tt.concatenate([x, y], axis=0),
    "divided by the number of rows": x / tt.cast(x.shape[0], "float32"),
    "noise of the rows' number": x + tt.shared_randomstreams.RandomStreams(1).normal((x.shape[0], 1)),
    "nothing of the rows": square,
}


def values(n):
    return [np.random.default_rng(seed).normal(size=(n, SIZE)).astype("float32") for seed in (2, 3)]


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_what_works_row_by_row_is_known(name):
    expression = ROW_BY_ROW[name]
    assert first_mixing([expression], [x, y]) is None
    mode = None if "convolution" in name else QUICK  # a convolution has no Python implementation
    function = theano.function([x, y], expression, mode=mode, on_unused_input="ignore")
    whole = function(*values(ROWS))
    for i in range(ROWS):
        row = function(*(value[i : i + 1] for value in values(ROWS)))
        np.testing.assert_allclose(whole[i : i + 1], row, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("expression", MIXING.values(), ids=MIXING)
def test_what_does_not_is_not_taken_for_it(expression):
    assert isinstance(first_mixing([expression], [x, y]), str)


def test_the_first_op_in_the_way_is_named():
    later = tt.tanh(tt.dot(x - x.mean(axis=0), square)).reshape((ROWS, 2, 2))
    assert first_mixing([x.sum(axis=1), later], [x]).startswith("Sum{axis=[0]")


class Scaled(AbstractOp):
    """x (rows, n), scale -> x times the scale."""

    __props__ = ("row_inputs",)

    def __init__(self, row_inputs):
        self.row_inputs = row_inputs

    def make_node(self, x, scale):
        return Apply(self, [x, scale], [x.type()])


def test_an_abstract_op_declares_it_itself():
    fixed, per_row = square[0], y
    assert first_mixing([Scaled((0,))(x, fixed)], [x]) is None
    assert first_mixing([Scaled((0, 1))(x, per_row)], [x, y]) is None
    # Rows where it declares none, the other way round, and an Op that declares nothing.
    for expression in (Scaled((0,))(x, per_row), Scaled((0, 1))(x, fixed), Scaled(())(x, fixed)):
        assert first_mixing([expression], [x, y]).startswith("Scaled")
