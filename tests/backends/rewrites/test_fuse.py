"""Which biases and ReLUs become part of a convolution or product, and that values and gradients stay."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.cpu.ops.convolution import Convolution
from fastvae.backends.cpu.ops.matmul import MatMul
from fastvae.backends.cpu.ops.sums import ColumnSum
from fastvae.backends.rewrites.recognise import recognise
from fastvae.elbo.merge import merge_equal_nodes
from fastvae.nn.activations import relu

PRODUCTS = {
    "conv": lambda x, w: tt.nnet.conv2d(x, w, filter_flip=False),
    "transposed": lambda x, w: tt.nnet.abstract_conv.conv2d_grad_wrt_inputs(
        x, w, (None, None, x.shape[2] + 2, x.shape[3] + 1), filter_flip=False
    ),
    "dense": tt.dot,
}
RELUS = {
    "fastvae": relu,
    "stock": tt.nnet.relu,
    "maximum": lambda x: tt.maximum(x, 0),
    "switch": lambda x: tt.switch(x > 0, x, 0),
}


def operands(rng, kind):
    shapes = {
        "conv": ((2, 3, 6, 5), (4, 3, 3, 2), 4),
        "transposed": ((2, 3, 6, 5), (3, 4, 3, 2), 4),
        "dense": ((3, 5), (5, 4), 4),
    }
    return [theano.shared(rng.randn(*np.atleast_1d(s)).astype("float32")) for s in shapes[kind]]


def layer(kind, activation, x, w, b):
    product = PRODUCTS[kind](x, w)
    return activation(product + (b.dimshuffle("x", 0, "x", "x") if product.ndim == 4 else b))


def nodes(function):
    return [node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, (Convolution, MatMul))]


def activation_of(node):
    return (node.op if isinstance(node.op, MatMul) else node.op.abstract_op).__dict__.get("activation")


def has_relu(node):
    return activation_of(node) == "relu"


@pytest.mark.parametrize("activation", sorted(RELUS))
@pytest.mark.parametrize("kind", sorted(PRODUCTS))
def test_forward_is_one_op(kind, activation, stock, rng, close):
    y = layer(kind, RELUS[activation], *operands(rng, kind))
    function = theano.function([], y)
    (node,) = nodes(function)
    assert has_relu(node) and not [
        n for n in function.maker.fgraph.apply_nodes if isinstance(n.op, tt.Elemwise) and n.outputs[0].ndim > 1
    ]
    close(function(), theano.function([], y, mode=stock)())


@pytest.mark.parametrize("activation", sorted(RELUS))
@pytest.mark.parametrize("kind", sorted(PRODUCTS))
def test_gradient_equals_stocks_with_many_exact_zeros(kind, activation, stock, rng, close):
    x, w, b = operands(rng, kind)
    b.set_value(np.zeros_like(b.get_value()))
    x.set_value(np.where(rng.rand(*x.get_value().shape) < 0.7, 0, x.get_value()).astype("float32"))
    if x.ndim == 2:
        x.set_value(x.get_value() * np.array([[1], [0], [1]], "float32"))
    else:
        x.set_value(x.get_value() * (np.arange(6) < 2).astype("float32")[:, None])
    y = layer(kind, RELUS[activation], x, w, b)
    outputs = [y, *theano.grad(tt.sum(tt.exp(y) * 0.1), [x, w, b])]
    expected = theano.function([], outputs, mode=stock)()
    assert (expected[0] == 0).mean() > 0.2
    function = theano.function([], outputs)
    for value, oracle in zip(function(), expected):
        close(value, oracle)
    assert any(map(has_relu, nodes(function))) == (activation in ("fastvae", "switch"))
    assert len(nodes(function)) == 3


@pytest.mark.parametrize("kind", sorted(PRODUCTS))
def test_sigmoid_is_fused_and_its_gradient_comes_from_the_output(kind, stock, rng, close):
    x, w, b = operands(rng, kind)
    y = layer(kind, tt.nnet.sigmoid, x, w, b)
    outputs = [y, *theano.grad(tt.sum(y**3), [x, w, b])]
    function = theano.function([], outputs)
    for value, expected in zip(function(), theano.function([], outputs, mode=stock)()):
        close(value, expected)
    assert len(nodes(function)) == 3
    assert sum("sigmoid" in str(n.op).lower() for n in function.maker.fgraph.apply_nodes) == 1


def test_sigmoid_behind_a_reshape(stock, rng, close):
    x, w, b = operands(rng, "dense")
    y = tt.nnet.sigmoid((tt.dot(x, w) + b).reshape((3, 2, 2)))
    function = theano.function([], y)
    (node,) = nodes(function)
    assert node.op.activation == "sigmoid"
    close(function(), theano.function([], y, mode=stock)())


def test_a_logarithm_of_sigmoid_stays_stable(rng):
    x, w, b = operands(rng, "dense")
    b.set_value(np.full_like(b.get_value(), -200))
    p = tt.nnet.sigmoid(tt.dot(x, w) + b)
    function = theano.function([], [tt.log(p), tt.log(1 - p)])
    inside, outside = function()
    assert np.isfinite(inside).all() and (inside < -150).all() and not outside.any()
    assert all(node.op.activation is None for node in nodes(function))


def test_a_product_that_is_used_elsewhere_stays_whole(stock, rng, close):
    x, w, b = operands(rng, "dense")
    product = tt.dot(x, w)
    outputs = [relu(product + b), tt.tanh(product)]
    function = theano.function([], outputs)
    (node,) = nodes(function)
    assert len(node.inputs) == 2
    for value, expected in zip(function(), theano.function([], outputs, mode=stock)()):
        close(value, expected)


def test_further_terms_of_the_sum_are_kept(stock, rng, close):
    x, w, b = operands(rng, "conv")
    extra = theano.shared(rng.randn(2, 4, 4, 4).astype("float32"))
    y = extra + tt.nnet.conv2d(x, w) + b.dimshuffle("x", 0, "x", "x") + 1
    function = theano.function([], y)
    assert len(nodes(function)[0].inputs) == 3
    close(function(), theano.function([], y, mode=stock)())


@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_bias_gradient_comes_with_the_weights_gradient(kind, rng):
    x, w, b = operands(rng, kind)
    y = layer(kind, relu, x, w, b)
    function = theano.function([], theano.grad(tt.sum(tt.sqr(y)), [w, b]))
    assert not [n for n in function.maker.fgraph.apply_nodes if isinstance(n.op, (tt.elemwise.Sum, ColumnSum))]
    (gradient,) = [n for n in nodes(function) if n.op.direction == 2]
    assert gradient.op.abstract_op.sum_of == {"conv": "top", "transposed": "image"}[kind]


PYTHON = theano.Mode("py", None)  # no C modules
SPELLED = {
    "relu": tt.nnet.relu,
    "maximum": lambda x: tt.maximum(x, 0),
    "leaky": lambda x: tt.nnet.relu(x, 0.2),
    "leaky by switch": lambda x: tt.switch(x < 0, 0.1 * x, x),
    "elu": lambda x: tt.nnet.elu(x, 0.5),
    "selu": tt.nnet.selu,
}
FROM_ARGUMENT = {
    "gelu": lambda x: 0.5 * x * (1 + tt.erf(x / np.float32(np.sqrt(2)))),
    "swish": lambda x: x * tt.nnet.sigmoid(x),
    "softplus": tt.nnet.softplus,
    "clip": lambda x: tt.clip(x, -0.5, 0.5),
    "tanh": tt.tanh,
}


def layers_of_their_own(kind, activations, rng):
    """For each activation a layer with weights of its own, many exact zeros in its argument, and these weights."""
    x, w, b = operands(rng, kind)
    x.set_value(np.where(np.arange(x.get_value().shape[-1]) < 2, x.get_value(), 0))
    if kind == "dense":
        x.set_value(x.get_value() * np.array([[1], [0], [1]], "float32"))
    b.set_value(np.zeros_like(b.get_value()))
    outputs = []
    for activation in activations:
        own = [theano.shared(v.get_value()) for v in (w, b)]
        y = layer(kind, activation, x, *own)
        outputs.append((y, own))
    return x, outputs


@pytest.mark.parametrize("kind", sorted(PRODUCTS))
def test_recognised_activations_are_part_of_the_product_in_training(kind, rng, close):
    activations = {**SPELLED, **FROM_ARGUMENT}
    x, spelled = layers_of_their_own(kind, activations.values(), rng)
    found, _ = recognise(merge_equal_nodes([y for y, _ in spelled]))

    def all_gradients(ys):
        return [g for y, (_, own) in zip(ys, spelled) for g in theano.grad(tt.sum(tt.exp(y) * 0.1), [x, *own])]

    function = theano.function([], [*found, *all_gradients(found)])
    expected = theano.function([], [*[y for y, _ in spelled], *all_gradients([y for y, _ in spelled])], mode=PYTHON)()
    assert (expected[0] == 0).mean() > 0.2
    for value, oracle in zip(function(), expected):
        close(value, oracle)
    fused = {activation_of(node) for node in nodes(function)}
    assert len(fused - {None}) == len(SPELLED) + 1  # tanh too: Theano's gradient of it has the same tanh


@pytest.mark.parametrize("kind", sorted(PRODUCTS))
def test_every_activation_is_part_of_the_product_without_a_gradient(kind, rng, close):
    activations = {**SPELLED, **FROM_ARGUMENT}
    _, layers = layers_of_their_own(kind, activations.values(), rng)
    function = theano.function([], [y for y, _ in layers])
    for value, oracle in zip(function(), theano.function([], [y for y, _ in layers], mode=PYTHON)()):
        close(value, oracle)
    assert len(nodes(function)) == len(activations)
    assert not [n for n in function.maker.fgraph.apply_nodes if isinstance(n.op, tt.Elemwise) and n.outputs[0].ndim > 1]
