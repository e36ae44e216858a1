"""Stock convolutions of anybody's graph run on oneDNN and give stock's values."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.tensor.nnet.abstract_conv import conv2d_grad_wrt_inputs

from fastvae.backends.cpu.op import CpuOp
from fastvae.backends.cpu.ops.reshape_like import ReshapeLike


def is_ours(function):
    kinds = [type(node.op).__name__ for node in function.maker.fgraph.apply_nodes]
    return kinds.count("Convolution"), [kind for kind in kinds if "CorrMM" in kind or "Conv2d" in kind]


def shared(rng, *shape):
    return theano.shared(rng.randn(*shape).astype("float32"))


@pytest.mark.parametrize(
    "options, groups",
    [
        ({}, 1),
        (dict(border_mode="half", filter_flip=False), 1),
        (dict(border_mode="full", subsample=(2, 3)), 1),
        (dict(border_mode=((1, 2), 0), filter_dilation=(2, 1)), 1),
        (dict(border_mode=1, subsample=(2, 1), num_groups=2), 2),
    ],
    ids=str,
)
def test_convolution_and_its_gradients(options, groups, stock, rng, close):
    x, w = shared(rng, 3, 4, 9, 10), shared(rng, 6, 4 // groups, 3, 2)
    y = tt.nnet.conv2d(x, w, **options)
    outputs = [y, *theano.grad(tt.sum(y**2), [x, w])]
    ours = theano.function([], outputs)
    assert is_ours(ours) == (3, [])
    for value, expected in zip(ours(), theano.function([], outputs, mode=stock)()):
        close(value, expected)


@pytest.mark.parametrize("size", [(6, 9), (7, 10)])
def test_transposed_convolution_of_a_given_size(size, stock, rng, close):
    g, w = shared(rng, 2, 4, 3, 3), shared(rng, 4, 3, 2, 3)
    y = conv2d_grad_wrt_inputs(g, w, (None, None, *size), subsample=(2, 3), border_mode=(0, 0))
    outputs = [y, *theano.grad(tt.sum(y**2), [g, w])]
    ours = theano.function([], outputs)
    assert is_ours(ours) == (3, [])
    for value, expected in zip(ours(), theano.function([], outputs, mode=stock)()):
        close(value, expected)


def test_gradients_take_their_shapes_from_the_variables_themselves(rng):
    """No arithmetic on sizes is left in the graph, and so no C to compile for it."""
    x, w = tt.ftensor4("x"), shared(rng, 6, 4, 3, 3)
    y = tt.nnet.conv2d(x, w, subsample=(2, 2))
    function = theano.function([x], theano.grad(tt.sum(y**2), [x, w]))
    assert not [
        node for node in function.maker.fgraph.apply_nodes if "Shape" in str(node.op) or "MakeVector" in str(node.op)
    ]
    assert [g.shape for g in function(np.zeros((2, 4, 10, 8), "float32"))] == [(2, 4, 10, 8), (6, 4, 3, 3)]


@pytest.mark.parametrize("case", ["float64", "unshared", "3d"])
def test_what_onednn_does_not_do_stays_stock(case, rng):
    if case == "float64":
        y = tt.nnet.conv2d(theano.shared(rng.randn(1, 2, 5, 5)), theano.shared(rng.randn(3, 2, 2, 2)))
    elif case == "unshared":
        y = tt.nnet.abstract_conv.AbstractConv2d(unshared=True)(shared(rng, 1, 2, 5, 5), shared(rng, 3, 4, 4, 2, 2, 2))
    else:
        y = tt.nnet.conv3d(shared(rng, 1, 2, 4, 4, 4), shared(rng, 3, 2, 2, 2, 2))
    function = theano.function([], y)
    assert is_ours(function)[0] == 0 and np.isfinite(function()).all()


def test_excluding_the_backend(stock, rng):
    y = tt.nnet.conv2d(shared(rng, 1, 2, 5, 5), shared(rng, 3, 2, 2, 2))
    nodes = theano.function([], y, mode=stock).maker.fgraph.apply_nodes
    assert not [node for node in nodes if isinstance(node.op, CpuOp)]


def test_gradient_of_a_reshape_takes_its_shape_from_the_variable(stock, rng, close):
    x = tt.ftensor4("x")
    y = tt.tanh(x).flatten(2)
    outputs = theano.grad(tt.sum(y**3), x)
    function = theano.function([x], outputs)
    kinds = [type(node.op) for node in function.maker.fgraph.apply_nodes]
    assert kinds.count(ReshapeLike) == 1 and kinds.count(tt.Reshape) == 1
    value = rng.randn(2, 3, 4, 5).astype("float32")
    for image in (value, value.transpose(0, 1, 3, 2)):
        close(function(image), theano.function([x], outputs, mode=stock)(image))
