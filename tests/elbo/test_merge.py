"""Merging equal nodes of a loss."""

import numpy as np
import theano
import theano.tensor as tt
from theano.gof.graph import inputs, ops
from theano.sandbox.rng_mrg import MRG_RandomStreams

from fastvae.elbo.merge import merge_equal_nodes


def count(outputs):
    return len(ops(inputs(outputs), outputs))


def network(x, w):
    return tt.tanh(tt.dot(tt.tanh(tt.dot(x, w)), w))


def test_copies_become_one_and_keep_their_value():
    rng = np.random.RandomState(0)
    x, w = tt.matrix("x"), theano.shared(rng.randn(3, 3).astype("float32"), name="w")
    one, two = network(x, w), network(x, w)
    loss = tt.sum(one * two) + tt.sum(one)
    (merged,) = merge_equal_nodes([loss])
    assert count([merged]) == count([loss]) - count([one])
    assert {v for v in inputs([merged]) if v.name} == {x, w}
    value = rng.randn(4, 3).astype("float32")
    np.testing.assert_allclose(merged.eval({x: value}), loss.eval({x: value}), rtol=1e-6)


def test_gradient_runs_once_through_a_network_that_occurs_twice():
    rng = np.random.RandomState(0)
    x, w = tt.matrix("x"), theano.shared(rng.randn(3, 3).astype("float32"), name="w")
    loss = tt.sum(network(x, w) ** 2) + tt.sum(tt.exp(network(x, w)))

    def products(expression):
        function = theano.function([x], expression, mode=theano.Mode("py", "merge"))
        return sum(isinstance(node.op, tt.Dot) for node in function.maker.fgraph.apply_nodes), function

    (n_plain, plain), (n_merged, merged) = (
        products(theano.grad(each, w)) for each in (loss, *merge_equal_nodes([loss]))
    )
    assert (n_plain, n_merged) == (8, 5)
    value = rng.randn(4, 3).astype("float32")
    np.testing.assert_allclose(merged(value), plain(value), rtol=1e-4)


def test_a_graph_without_equal_nodes_is_left_as_it_is():
    x = tt.vector("x")
    y = tt.exp(tt.sin(x))
    assert merge_equal_nodes([y]) == [y] and y.owner.inputs[0].owner.inputs == [x]


def test_inputs_constants_and_disconnected_outputs():
    x, shared, constant = tt.vector("x"), theano.shared(1.0), tt.constant(3.0)
    same = merge_equal_nodes([x, shared, constant, x])
    assert same[0] is x and same[1] is shared and same[3] is x and same[2].value == 3


def test_equal_constants_are_one_and_nearly_equal_ones_two():
    x = tt.dscalar("x")
    a, b, c = (x * tt.constant(v) for v in (2.0, 2.0, np.nextafter(2.0, 3)))
    a, b, c = merge_equal_nodes([a, b, c])
    assert a is b and a is not c


def test_constants_of_different_dtype_stay_apart():
    x = tt.dscalar("x")
    a, b = merge_equal_nodes([x * tt.constant(np.float32(2)), x * tt.constant(np.float64(2))])
    assert a is not b


def test_different_draws_stay_different():
    stream = MRG_RandomStreams(seed=3)
    a, b = stream.normal((5,)), stream.normal((5,))
    merged = merge_equal_nodes([a, b, a + b])
    assert merged[0] is not merged[1]
    one, other, total = theano.function([], merged)()
    assert (one != other).all()
    np.testing.assert_allclose(one + other, total, rtol=1e-6)


def test_updates_of_a_random_stream_still_go_forward():
    draw = MRG_RandomStreams(seed=3).uniform((2,))
    (merged,) = merge_equal_nodes([tt.exp(draw) + tt.exp(draw)])
    function = theano.function([], merged)
    assert (function() != function()).all()


def test_types_and_test_values_are_kept():
    x = tt.fmatrix("x")
    row = tt.unbroadcast(tt.addbroadcast(x, 0), 0)
    a, b = merge_equal_nodes([row + 1, tt.unbroadcast(tt.addbroadcast(x, 0), 0) + 1])
    assert a is b and a.type == (row + 1).type
