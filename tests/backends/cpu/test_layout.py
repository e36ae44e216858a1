"""Activations stay NHWC between layers; what is left of layout changes is counted here."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends import abstract
from fastvae.backends.cpu.ops.layout import Layout
from fastvae.backends.cpu.ops.sums import ColumnSum
from tests.backends.cpu import fast_path


def layouts(function):
    return sum(isinstance(node.op, Layout) for node in function.maker.fgraph.apply_nodes)


def network(rng, activation=lambda h: h, layers=3):
    x, weights = tt.ftensor4("x"), [theano.shared(rng.randn(4, 4, 3, 3).astype("float32")) for _ in range(layers)]
    h = x
    for w in weights:
        h = activation(tt.nnet.conv2d(h, w))
    return x, weights, h


@pytest.mark.parametrize("activation", [tt.nnet.relu, tt.tanh, lambda h: tt.nnet.sigmoid(h) * np.float32(2)])
def test_cancel_through_elementwise_ops_forward_and_backward(activation, stock, rng, close):
    x, weights, h = network(rng, activation)
    outputs = [tt.sum(h**2), *theano.grad(tt.sum(h**2), weights)]
    function = theano.function([x], outputs)
    assert layouts(function) == 1  # the input's
    value = rng.randn(2, 4, 10, 9).astype("float32")
    for got, expected in zip(function(value), theano.function([x], outputs, mode=stock)(value)):
        close(got, expected, 2e-5)


def test_result_is_nchw_and_contiguous(rng):
    x, _, h = network(rng)
    function = theano.function([x], h)
    value = function(np.zeros((2, 4, 10, 9), "float32"))
    assert value.shape == (2, 4, 4, 3) and value.flags.c_contiguous and layouts(function) == 2


@pytest.mark.parametrize("axes", [None, (0, 2, 3), (1, 2, 3), (2, 3), (1,), (0,), (0, 1)])
def test_sums(axes, stock, rng, close):
    x, _, h = network(rng, layers=1)
    outputs = tt.sum(h, axis=axes)
    with theano.change_flags(on_opt_error="raise"):
        function = theano.function([x], outputs)
    value = rng.randn(2, 4, 10, 9).astype("float32")
    close(function(value), theano.function([x], outputs, mode=stock)(value))
    assert layouts(function) <= 2
    assert any(isinstance(n.op, ColumnSum) for n in function.maker.fgraph.apply_nodes) == (axes == (0, 2, 3))


def test_elementwise_with_broadcast_operands(stock, rng, close):
    x, _, h = network(rng, layers=1)
    channel, row = theano.shared(rng.randn(4).astype("float32")), theano.shared(rng.randn(7).astype("float32"))
    y = tt.tanh(h * channel.dimshuffle("x", 0, "x", "x") - row.dimshuffle("x", "x", "x", 0)) / np.float32(3)
    function = theano.function([x], y)
    value = rng.randn(2, 4, 10, 9).astype("float32")
    close(function(value), theano.function([x], y, mode=stock)(value))


def test_bias_sum_of_a_matrix_is_a_column_sum(stock, rng, close):
    x = tt.fmatrix()
    function = theano.function([x], x.sum(0))
    assert [type(n.op) for n in function.maker.fgraph.apply_nodes] == [ColumnSum]
    value = rng.randn(50, 7).astype("float32")
    close(function(value), value.astype("float64").sum(0), 1e-6)


def test_flatten_and_back(stock, rng, close):
    x, w = tt.ftensor4("x"), theano.shared(rng.randn(4, 4, 3, 3).astype("float32"))
    h = abstract.conv2d(x, w, activation="relu")
    h = h.flatten(2).reshape(h.shape)
    y = abstract.conv_transpose2d(h, w, activation="relu")
    outputs = [y, theano.grad(tt.sum(y**2), w)]
    value = rng.randn(2, 4, 10, 9).astype("float32")
    for got, expected in zip(theano.function([x], outputs)(value), theano.function([x], outputs, mode=stock)(value)):
        close(got, expected)


def test_gradient_of_stock_relu_behind_a_flatten_is_copied_once(stock, rng, close):
    x, w = tt.ftensor4("x"), theano.shared(rng.randn(4, 4, 3, 3).astype("float32"))
    h = tt.nnet.relu(tt.nnet.conv2d(x, w)).flatten(2)
    outputs = theano.grad(tt.sum(h**3), w)
    function = theano.function([x], outputs)
    assert layouts(function) == 3  # the image, the flattened activation and its gradient
    value = rng.randn(2, 4, 10, 9).astype("float32")
    close(function(value), theano.function([x], outputs, mode=stock)(value))


def test_sum_of_every_image_keeps_its_layout(stock, rng, close):
    x, w = tt.ftensor4("x"), theano.shared(rng.randn(4, 4, 3, 3).astype("float32"))
    outputs = tt.nnet.conv2d(x, w).sum((1, 2, 3))
    function = theano.function([x], outputs)
    assert layouts(function) == 1
    value = rng.randn(2, 4, 10, 9).astype("float32")
    close(function(value), theano.function([x], outputs, mode=stock)(value))


def ways_between_convolutions(h, mask, channel, pixels):
    """What users put between two convolutions, NCHW in, NCHW out; channels, rows and columns of the same numbers."""
    scale, means = channel.dimshuffle("x", 0, "x", "x"), h.mean((2, 3), keepdims=True)
    yield tt.switch(mask * tt.gt(h, scale), h, tt.exp(h) - 1)  # a mask of bytes
    yield tt.switch(tt.eq(h, h.max((2, 3), keepdims=True)), h, np.float32(0)) * tt.cast(pixels, "float32")
    yield (h - means) / tt.sqrt(h.var((0, 2, 3), keepdims=True) + np.float32(1)) * scale
    yield tt.set_subtensor(h[:, 1:3, ::-2], h[:, 1:3, ::2] * scale[:, 1:3])
    yield tt.inc_subtensor(tt.zeros_like(h)[:, :, 1:, :-1], tt.maximum(h[:, :, :-1, 1:], scale))
    yield h * h[:, 0].dimshuffle(0, "x", 1, 2) + h[:, :, 2].dimshuffle(0, 1, "x", 2)
    yield (
        h * h.sum(1, keepdims=True)
        - h.min((1, 3)).dimshuffle(0, "x", 1, "x")
        + h.max((0, 1)).dimshuffle("x", "x", 0, 1)
    )
    yield tt.clip(h, 0, 1) + tt.alloc(scale * 2, *h.shape) + tt.ones_like(h)


WAYS = 8


@pytest.mark.parametrize("number", range(WAYS))
def test_no_copy_between_convolutions(number, rng, close):
    kinds = {"x": "float32", "mask": "bool", "pixels": "uint8"}
    x, mask, pixels = (tt.TensorType(kind, [False] * 4)(name) for name, kind in kinds.items())
    channel = tt.fvector("channel")
    weights = [theano.shared(rng.randn(4, 4, 3, 3).astype("float32") / 6) for _ in range(2)]
    ways = list(ways_between_convolutions(tt.nnet.conv2d(x, weights[0], border_mode="half"), mask, channel, pixels))
    assert len(ways) == WAYS
    loss = tt.sum(tt.sqr(tt.nnet.conv2d(ways[number], weights[1], border_mode="half")))
    inputs, outputs = [x, mask, channel, pixels], [loss, *theano.grad(loss, weights)]
    with theano.change_flags(on_opt_error="raise"):
        function = theano.function(inputs, outputs, mode=theano.Mode("py", "fast_run"), on_unused_input="ignore")
    values = [
        drawn((2, 4, 10, 9), rng),
        rng.rand(2, 4, 10, 9) > 0.3,
        drawn(4, rng),
        rng.randint(0, 9, (2, 4, 10, 9), "uint8"),
    ]
    without = theano.Mode("py", "fast_run").excluding("fastvae_onednn_layout")
    expected = theano.function(inputs, outputs, mode=without, on_unused_input="ignore")(*values)
    for value, exact in zip(function(*values), expected):
        close(value, exact, 2e-5)
    changed = [n.inputs[0] for n in function.maker.fgraph.apply_nodes if isinstance(n.op, Layout)]
    assert all(v.owner is None for v in changed), changed  # nothing but what a caller gives as NCHW


def drawn(shape, rng):
    return np.float32(rng.standard_normal(shape))


def test_images_of_one_channel_are_views(rng):
    x, w = tt.ftensor4("x"), theano.shared(drawn((4, 1, 3, 3), rng))
    back = theano.shared(drawn((1, 4, 3, 3), rng))
    y = tt.nnet.conv2d(tt.nnet.conv2d(x, w, border_mode="half"), back, border_mode="half")
    function = theano.function(
        [], theano.grad(tt.sum(tt.sqr(x - y)), w), givens={x: theano.shared(drawn((3, 1, 8, 7), rng))}
    )
    function()
    assert not fast_path.layout_copies(function)
