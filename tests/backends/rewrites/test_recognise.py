"""That an expression keeps its values, inputs and gradients where spelled patterns become abstract Ops."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano import scalar
from theano.gof.graph import inputs, io_toposort
from theano.tensor.shared_randomstreams import RandomStreams

from fastvae.backends.abstract import spellings
from fastvae.backends.abstract.activations import LeakyRelu
from fastvae.backends.rewrites.recognise import recognise


def scalar_ops(*outputs):
    """The scalar Ops of an expression, in the order in which they are computed."""
    nodes = io_toposort(inputs(outputs), outputs)
    return [node.op.scalar_op for node in nodes if isinstance(node.op, tt.Elemwise)]


def leaky(x, alpha=0.25):
    return tt.nnet.relu(x, alpha)


def found(*outputs):
    return sum(isinstance(op, LeakyRelu) for op in scalar_ops(*outputs))


@pytest.fixture
def declared(monkeypatch):
    """Patterns that a test declares, and no others."""
    monkeypatch.setattr(spellings, "_DECLARED", type(spellings._DECLARED)())
    return spellings.recognises


def test_patterns_in_patterns_and_a_result_that_is_used_elsewhere(rng):
    x, w = tt.fvector("x"), theano.shared(np.float32(2), name="w")
    inner = leaky(w * x)
    outputs = [tt.sum(leaky(inner * 3 - 1) * inner), tt.exp(inner)]
    new, replaced = recognise(outputs)
    assert found(*new) == 2 and found(*outputs) == 0
    assert set(inputs(new)) >= {x, w} and replaced[inner] in new[1].owner.inputs
    value = rng.randn(50).astype("float32")
    for one, other in zip(new, outputs):
        np.testing.assert_allclose(one.eval({x: value}), other.eval({x: value}), rtol=2e-5)
    one, other = (theano.grad(loss, w).eval({x: value}) for loss in (new[0], outputs[0]))
    np.testing.assert_allclose(one, other, rtol=2e-5)


def test_a_graph_without_patterns_is_left_as_it_is():
    x = tt.fvector("x")
    y = tt.exp(tt.sin(x))
    assert recognise([y, x]) == ([y, x], {})


def test_nodes_that_do_not_depend_on_a_pattern_stay_the_same_objects():
    draws = RandomStreams(1).normal((3,), dtype="float32")
    new, replaced = recognise([leaky(draws) + tt.exp(draws)])
    leaves = inputs(new)
    assert set(leaves) >= {v for v in inputs([draws]) if isinstance(v, theano.compile.SharedVariable)}
    assert draws not in replaced and draws in {v for node in io_toposort(leaves, new) for v in node.inputs}


def test_thousands_of_nested_patterns():
    x = y = tt.fscalar("x")
    for _ in range(1000):
        y = leaky(y) + x
    (new,), _ = recognise([y])
    assert found(new) == 1000


def test_only_float32_and_only_the_same_type(declared):
    @declared(scalar.Sin)
    def to_cosine(node):
        return tt.cos(node.inputs[0])

    @declared(scalar.Tanh)
    def to_a_sum(node):
        return node.inputs[0].sum()

    for x, n in ((tt.fvector(), 1), (tt.dvector(), 0), (tt.frow(), 1)):
        (y,), _ = recognise([tt.tanh(tt.sin(x))])
        assert [type(op) for op in scalar_ops(y)].count(scalar.Cos) == n and y.type == tt.tanh(x).type
    assert [type(op) for op in scalar_ops(*recognise([tt.tanh(tt.fvector())])[0])] == [scalar.Tanh]


def test_a_pattern_may_replace_what_is_inside_of_it(declared):
    @declared(tt.elemwise.Sum)
    def of_squares(node):
        (square,) = spellings.operands(node.inputs[0], scalar.Sqr) or (None,)
        if square is None:
            return None
        power = abs(square) ** 2.0
        return {node.outputs[0]: power.sum(dtype="float32"), node.inputs[0]: power}

    x = tt.fvector("x")
    early = tt.exp(tt.sqr(x))  # comes before the pattern's end
    square = early.owner.inputs[0]
    (new, total), replaced = recognise([early + square, square.sum()])
    assert scalar.Sqr not in {type(op) for op in scalar_ops(new, total)}
    assert {square, early} <= set(replaced)
    value = np.float32([1, -2])
    np.testing.assert_allclose(new.eval({x: value}), np.exp(value**2) + value**2, rtol=1e-6)
    assert total.eval({x: value}) == 5


def test_a_products_factors_and_a_sums_terms():
    x, y = tt.fvectors("xy")
    assert spellings.factors(-(x / 4) * x**3 * 2) == (-0.5, [x, x, x, x])
    assert spellings.factors(tt.as_tensor_variable(3.0)) == (3.0, [])
    assert spellings.terms(2 * (x - (y + 1)) - x * y) == (-2.0, [(2.0, [x]), (-2.0, [y]), (-1.0, [x, y])])
    assert spellings.number(tt.as_tensor_variable(2.0).dimshuffle("x") / 4) == 0.5
    assert spellings.number(tt.constant(np.float32([1, 2]))) is None
