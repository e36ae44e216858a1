"""A likelihood on images that are a view of vectors is computed on the vectors."""

import numpy as np
import theano
import theano.tensor as tt

from fastvae.backends import abstract
from fastvae.backends.cpu.ops.sums import Total
from fastvae.backends.cpu.ops.unflatten import Unflatten


def likelihood(rng):
    images, vectors = (theano.shared(rng.rand(*s).astype("float32")) for s in ((3, 1, 4, 5), (3, 20)))
    scale = theano.shared(np.float32(1.5))
    means = abstract.Unflatten((1, 4, 5))(tt.tanh(vectors))
    return tt.sum(tt.sqr(images - means) * np.float32(-50) / scale + np.float32(2)), vectors


def test_value_and_gradient_equal_stocks_and_all_passes_are_on_vectors(stock, rng, close):
    loss, vectors = likelihood(rng)
    outputs = [loss, theano.grad(loss, vectors)]
    function = theano.function([], outputs)
    for value, expected in zip(function(), theano.function([], outputs, mode=stock)()):
        close(value, expected)
    nodes = function.maker.fgraph.apply_nodes
    assert not [n for n in nodes if isinstance(n.op, (tt.Elemwise, Total)) and n.inputs[0].ndim == 4]
    assert not [n for n in nodes if isinstance(n.op, (Unflatten, tt.Reshape))]
    assert sum(isinstance(n.op, Total) for n in nodes) == 1


def test_a_channel_wise_operand_stays_on_images(stock, rng, close):
    vectors, shift = (theano.shared(rng.rand(*s).astype("float32")) for s in ((3, 20), (2,)))
    y = abstract.Unflatten((2, 2, 5))(vectors) + shift.dimshuffle("x", 0, "x", "x")
    function = theano.function([], y)
    close(function(), theano.function([], y, mode=stock)())
    (add,) = [n for n in function.maker.fgraph.apply_nodes if isinstance(n.op, tt.Elemwise)]
    assert add.outputs[0].ndim == 4


def test_another_shape_is_not_taken_for_the_vectors_own(stock, rng, close):
    vectors, like = (theano.shared(rng.rand(*s).astype("float32")) for s in ((3, 20), (6, 10)))
    y = abstract.Unflatten((1, 4, 5))(vectors).reshape(like.shape)
    function = theano.function([], y)
    assert function().shape == (6, 10)
    close(function(), theano.function([], y, mode=stock)())
