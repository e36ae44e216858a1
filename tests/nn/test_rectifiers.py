import numpy as np
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae import nn
from fastvae.errors import ConfigurationError
from tests.on_devices import on_every_device


@pytest.mark.parametrize("ndim", [1, 2, 4])
def test_values_of_any_shape(ndim):
    layer, x = nn.LeakyReLU(0.25), tt.TensorType("float32", [False] * ndim)("x")
    values = np.random.default_rng(0).normal(size=(2, 3, 4, 5)[:ndim]).astype("float32")
    np.testing.assert_array_equal(theano.function([x], layer(x))(values), np.where(values > 0, values, values / 4))
    assert layer.output_shape(values.shape[1:]) == values.shape[1:] and layer.get_params() == []


def test_as_the_activation_of_another_layer():
    layer = nn.Linear(3, 2, activation=nn.LeakyReLU(0.25), rng=0)
    plain = nn.Linear(3, 2, rng=0)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    value, before = layer(x).eval(), plain(x).eval()
    np.testing.assert_allclose(value, np.where(before > 0, before, before / 4), rtol=1e-6)


def test_what_a_slope_cannot_be():
    with pytest.raises(ConfigurationError, match="LeakyReLU 'a': alpha=-0.1 must be a finite number above 0"):
        nn.LeakyReLU(-0.1, name="a")


@on_every_device
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 1)])
def test_value_and_gradients(shape):
    layer, x = nn.PReLU(3, name="act"), tt.TensorType("float32", [False] * len(shape))("x")
    slopes = np.float32([0.1, -0.5, 2])
    layer.alpha.set_value(slopes)
    values = np.random.default_rng(0).normal(size=shape).astype("float32")
    values.flat[::7] = 0
    y = layer(x)
    value, by_x, by_alpha = theano.function([x], [y, *theano.grad(tt.sqr(y).sum() / 2, [x, layer.alpha])])(values)
    alpha = slopes.reshape(3, *[1] * (len(shape) - 2))
    expected = np.where(values > 0, values, alpha * values).astype("float64")
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(by_x, expected * np.where(values > 0, 1, alpha), rtol=1e-5)
    axes = tuple(axis for axis in range(len(shape)) if axis != 1)
    np.testing.assert_allclose(by_alpha, (expected * np.minimum(values, 0)).sum(axes), rtol=1e-5, atol=1e-6)
    assert layer.output_shape(shape[1:]) == shape[1:]


def test_the_slopes_are_trained():
    layer = nn.PReLU(2, alpha=nn.constant(0.5), name="act")
    assert fastvae.collect_params(layer(tt.fmatrix())) == layer.get_params() == [layer.alpha]
    assert layer.alpha.get_value().tolist() == [0.5, 0.5] and layer.alpha.name == "act.alpha"


def test_what_prelu_does_not_take():
    layer = nn.PReLU(2, name="act")
    with pytest.raises(ConfigurationError, match=r"PReLU 'act': the input shape \(3, 4\) is neither"):
        layer.output_shape((3, 4))
    with pytest.raises(ConfigurationError, match=r"PReLU 'act': the input shape \(3,\) does not fit"):
        layer.output_shape((3,))
    with pytest.raises(ConfigurationError, match="PReLU 'act': the input .* is float32 of 3 dimensions"):
        layer(tt.ftensor3())
