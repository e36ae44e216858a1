"""BatchNorm against numpy in float64: training form, evaluation form, running statistics, and what it refuses."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae import nn
from fastvae.errors import ConfigurationError
from tests.on_devices import on_every_device

EPSILON, MOMENTUM = 1e-3, 0.3
CASES = {2: ((6, 3), (0,)), 4: ((5, 3, 2, 4), (0, 2, 3))}


def column(value, ndim):
    return value.reshape((1, -1) + (1,) * (ndim - 2)).astype("float64")


def compiled(ndim):
    """A layer, and a function of its input: training form, evaluation form; it updates the running statistics."""
    rng = np.random.default_rng(ndim)

    def random(shape, *_):
        return rng.normal(1, 0.5, shape).astype("float32")

    layer = nn.BatchNorm(3, nn.relu, EPSILON, MOMENTUM, gamma=random, beta=random, name="norm")
    x = tt.TensorType("float32", [False] * ndim)("x")
    y = layer(x)
    return layer, theano.function([x], [y, nn.for_evaluation(y)], updates=nn.running_updates(y))


@on_every_device
@pytest.mark.parametrize("ndim", CASES)
def test_both_forms_and_the_running_statistics_are_those_of_numpy(ndim):
    shape, axes = CASES[ndim]
    layer, step = compiled(ndim)
    gamma, beta = (column(p.get_value(), ndim) for p in layer.get_params())
    mean, var = np.zeros(3), np.ones(3)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(2, 3, shape).astype("float32")
        trained, evaluated = step(x)
        x = x.astype("float64")
        of_batch = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        for y, (m, v) in ((trained, of_batch), (evaluated, (column(mean, ndim), column(var, ndim)))):
            expected = np.maximum((x - m) / np.sqrt(v + EPSILON) * gamma + beta, 0)
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
        mean = (1 - MOMENTUM) * mean + MOMENTUM * x.mean(axes)
        var = (1 - MOMENTUM) * var + MOMENTUM * x.var(axes, ddof=1)
        np.testing.assert_allclose(layer.running_mean.get_value(), mean, rtol=1e-5)
        np.testing.assert_allclose(layer.running_var.get_value(), var, rtol=1e-5)


def test_parameters_and_state_are_apart():
    layer = nn.BatchNorm(3, name="norm")
    y = layer(tt.fmatrix())
    assert layer.get_params() == fastvae.collect_params(y) == [layer.gamma, layer.beta]
    assert layer.get_state() == nn.running_statistics(y) == [layer.running_mean, layer.running_var]
    assert [v.name for v in layer.get_state()] == ["norm.running_mean", "norm.running_var"]
    assert nn.Linear(2, 3).get_state() == []


def test_a_layer_before_it_has_no_bias():
    for layer in (
        nn.Linear(2, 3, bias=None),
        nn.Conv2D(2, 3, 1, bias=None),
        nn.ConvTranspose2D(2, 3, 1, bias=None),
    ):
        assert layer.bias is None and layer.get_params() == [layer.weight]
        x = np.random.default_rng(0).random((4, 2) if layer.weight.ndim == 2 else (4, 2, 1, 1), dtype="float32")
        w = layer.weight.get_value().reshape(layer.weight.get_value().shape[:2])
        w = w.T if isinstance(layer, nn.Conv2D) else w
        np.testing.assert_allclose(layer(x).eval().reshape(4, 3), x.reshape(4, 2) @ w, rtol=1e-5)


def test_output_shape():
    layer = nn.BatchNorm(3)
    assert layer.output_shape((3,)) == (3,) and layer.output_shape((3, 5, 7)) == (3, 5, 7)
    for shape in ((4,), (4, 5, 7), (3, 5), (3, 0, 7)):
        with pytest.raises(ConfigurationError, match=r"^BatchNorm.* 'batch_norm': the input shape .* does not fit"):
            layer.output_shape(shape)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(epsilon=1e-5), "epsilon=1e-05 must be a finite number above 1e-05"),
        (dict(epsilon=0), "epsilon=0 must be"),
        (dict(momentum=1.5), "momentum=1.5 must be a number from 0 to 1"),
        (dict(momentum=-0.1), "momentum=-0.1 must be"),
        (dict(n=0), "n=0 must be"),
        (dict(gamma=np.ones(3)), "gamma="),
        (dict(gamma=lambda *_: np.ones(2, "float32")), r"gamma returned float32 \(2,\), not float32 \(3,\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        nn.BatchNorm(**{"n": 3, **arguments})


@pytest.mark.parametrize("x", [tt.fvector("x"), tt.ftensor3("x"), tt.dmatrix("x"), tt.ltensor4("x")])
def test_wrong_inputs(x):
    with pytest.raises(ConfigurationError, match=r"^BatchNorm 'batch_norm': the input x is .*, not float32 of 4|2"):
        nn.BatchNorm(3)(x)
