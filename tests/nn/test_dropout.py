"""Dropout: the values that it may take, its gradient, its random numbers, and that nothing of it is left over."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.sandbox.rng_mrg import MRG_RandomStreams

import fastvae
from fastvae import nn
from fastvae.backends.abstract.dropout import Dropout as Op
from fastvae.errors import ConfigurationError
from fastvae.nn import dropout
from tests.on_devices import on_every_device

P = 0.25


@pytest.fixture(scope="module", params=[2, 4])
def compiled(request):
    """An input, and a function that returns the output and the gradient of its weighted sum."""
    x = tt.TensorType("float32", [False] * request.param)("x")
    layer = nn.Dropout(P, name="drop", rng=3)
    y = layer(x)
    function = theano.function([x], [y, theano.grad((y * x.sum()).sum(), x, consider_constant=[x.sum()])])
    value = np.random.default_rng(0).normal(size=(40, 50) if x.ndim == 2 else (10, 5, 8, 7)).astype("float32")
    return value, function, y


@on_every_device
def test_an_element_is_scaled_or_zero_and_its_gradient_with_it(compiled):
    x, function, _ = compiled
    y, gradient = function(x)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - P), rtol=1e-6)
    assert abs(kept.mean() - (1 - P)) < 5 * np.sqrt(P * (1 - P) / kept.size)
    assert np.unique(gradient[~kept]).size == 1 and np.unique(gradient[kept]).size == 1  # the same mask
    assert np.isclose(np.ptp(gradient), abs(x.sum()) / (1 - P), rtol=1e-4) or gradient[~kept].max() == 0


@on_every_device
def test_every_call_of_the_function_has_its_own_mask_and_a_seed_repeats_them(compiled):
    x, function, y = compiled

    def masks(seed):
        dropout.seed([y], seed)
        return [function(x)[0] != 0 for _ in range(2)]

    (a, b), again, other = masks(1), masks(1), masks(2)
    assert (a != b).any() and (a != other[0]).any()
    assert (a == again[0]).all() and (b == again[1]).all()


def test_the_compiled_graph_is_element_wise(compiled):
    _, function, _ = compiled
    nodes = function.maker.fgraph.toposort()
    assert not any(isinstance(node.op, Op) for node in nodes)
    assert not any(v.dtype == "float64" and v.ndim for node in nodes for v in node.outputs)


def test_the_op_is_its_stock_expression():
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(30, 20)).astype("float32"), rng.random((30, 20), dtype="float32")
    x[0, 0], u[0, 0] = np.nan, 0.1  # dropped all the same
    expected = np.where(u >= np.float32(P), x * np.float32(1 / (1 - P)), np.float32(0))
    np.testing.assert_allclose(Op(P)(x, u).eval(), expected, rtol=1e-6)
    node = Op(P)(x, u).owner
    storage = [[None]]
    node.op.perform(node, [x, u], storage)
    np.testing.assert_array_equal(storage[0][0], expected)


def test_streams_of_one_network_differ():
    x = tt.fmatrix("x")
    layer = nn.Dropout(P, name="drop", rng=3)
    y = layer(layer(x))
    states = dropout.masks([y])
    assert [state.name for state in states] == ["drop.state"] * 2
    assert (states[0].get_value() != states[1].get_value()).any()
    dropout.seed([y], 5)
    assert (states[0].get_value() != states[1].get_value()).any()


def test_a_seed_is_for_masks_alone():
    rows = fastvae.Minibatch(np.zeros((9, 3), "float32"), 4, seed=1)
    noise = MRG_RandomStreams(5).normal(rows.shape, dtype="float32")
    (state,) = dropout.masks([nn.Dropout(P, name="drop")(rows + noise)])
    assert state.name == "drop.state"


def test_nothing_is_dropped_at_p_0_and_in_evaluation():
    x = tt.fmatrix("x")
    assert nn.Dropout(0)(x) is x
    assert nn.for_evaluation(nn.Dropout(P)(x)) is x
    assert nn.Dropout(P).get_params() == nn.Dropout(P).get_state() == []


def test_output_shape_and_wrong_arguments():
    layer = nn.Dropout(P)
    assert layer.output_shape((3,)) == (3,) and layer.output_shape((3, 4, 5)) == (3, 4, 5)
    with pytest.raises(ConfigurationError, match="does not fit"):
        layer.output_shape((3, 4))
    for p in (1, -0.1, "half", True, np.nan):
        with pytest.raises(ConfigurationError, match="p="):
            nn.Dropout(p)
    with pytest.raises(ConfigurationError, match="Dropout 'dropout': the input x is float64"):
        layer(tt.dmatrix("x"))


def test_masks_of_images_are_drawn_in_the_layout_of_the_activations():
    rng = np.random.default_rng(0)
    first, last = (nn.Conv2D(*n, 3, padding="same", name=f"conv{n}", rng=rng) for n in ((1, 4), (4, 2)))
    x = theano.shared(rng.random((3, 1, 6, 6), dtype="float32"), name="x")
    loss = (last(nn.relu(nn.Dropout(P)(first(x)))) ** 2).sum()
    step = theano.function([], [loss, *theano.grad(loss, first.get_params() + last.get_params())])
    changes = [node for node in step.maker.fgraph.toposort() if type(node.op).__name__ in ("Layout", "DimShuffle")]
    assert [str(node.inputs[0]) for node in changes if node.inputs[0].ndim == 4] == ["x"]
