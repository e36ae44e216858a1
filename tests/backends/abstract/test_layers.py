"""Abstract Ops: their values, gradients (finite differences) and arguments."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends import abstract
from fastvae.errors import ConfigurationError

PYTHON = theano.Mode(linker="py", optimizer=None)  # runs `perform`
LAYERS = [
    (abstract.conv2d, (2, 4, 6, 5), (6, 2, 3, 2), 6, dict(stride=(2, 1), padding=((1, 0), (0, 2)), groups=2)),
    (abstract.conv2d, (2, 2, 6, 5), (3, 2, 2, 2), 3, dict(padding="half", dilation=2)),
    (abstract.conv_transpose2d, (2, 4, 3, 4), (4, 3, 3, 2), 6, dict(stride=(2, 3), padding=(1, 0), groups=2)),
    (abstract.conv_transpose2d, (2, 2, 3, 4), (2, 3, 2, 2), 3, dict(dilation=(2, 1))),
    (abstract.dense, (3, 4), (4, 5), 5, {}),
]


@pytest.mark.parametrize("layer, x_shape, w_shape, n_bias, options", LAYERS)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_gradients_by_finite_differences(layer, x_shape, w_shape, n_bias, options, activation, rng):
    if layer is not abstract.dense:
        options = dict(options, activation=activation)
    values = [rng.randn(*x_shape), rng.randn(*w_shape), rng.randn(n_bias)]
    theano.gradient.verify_grad(lambda x, w, b: layer(x, w, b, **options), values, rng=rng, mode=PYTHON, eps=1e-7)


@pytest.mark.parametrize("layer, x_shape, w_shape, n_bias, options", LAYERS)
def test_second_derivatives_by_finite_differences(layer, x_shape, w_shape, n_bias, options, rng):
    values = [rng.randn(*x_shape), rng.randn(*w_shape), rng.randn(n_bias)]

    def gradients(x, w, b):
        loss = tt.sum(layer(x, w, b, **options) ** 3)
        return tt.concatenate([g.flatten() for g in theano.grad(loss, [x, w, b])])

    theano.gradient.verify_grad(gradients, values, rng=rng, mode=PYTHON, eps=1e-7)


def test_gradient_of_relu_at_exactly_zero_is_zero():
    x, w = theano.shared(np.array([[-1.0, 1.0]], "float32")), theano.shared(np.ones((2, 1), "float32"))
    y = abstract.dense(x, w, activation="relu")
    value, gradient = theano.function([], [y, theano.grad(y.sum(), x)])()
    assert value == 0 and not gradient.any()


def test_nan_stays_nan(rng):
    x = np.array([[np.nan]], "float32")
    y = abstract.dense(tt.constant(x), tt.constant(np.ones((1, 1), "float32")), activation="relu")
    assert np.isnan(theano.function([], y, mode=PYTHON)()).all()


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(stride=0), "stride must be an integer of at least 1 or a pair of them, got 0"),
        (dict(dilation=(1, 2, 3)), "dilation must be"),
        (dict(padding="same"), "padding must be an integer, a pair, 'half' or 'full', got 'same'"),
        (dict(padding=-1), "padding must be"),
        (dict(groups=0), "groups must be"),
        (dict(activation="tanh"), "activation must be None, 'relu' or 'sigmoid', got 'tanh'"),
    ],
)
def test_refuses_bad_arguments(options, message):
    x, w = tt.tensor4("x", "float32"), tt.tensor4("w", "float32")
    for layer in (abstract.conv2d, abstract.conv_transpose2d):
        with pytest.raises(ConfigurationError, match=message):
            layer(x, w, **options)


def test_refuses_bad_operands():
    x, w = tt.tensor4("x", "float32"), tt.tensor4("w", "float32")
    with pytest.raises(ConfigurationError, match="w must be a float tensor of 4 axes"):
        abstract.conv2d(x, tt.fmatrix())
    with pytest.raises(ConfigurationError, match="must share one dtype, got float32, float64"):
        abstract.conv2d(x, tt.dtensor4())
    with pytest.raises(ConfigurationError, match="b must be a float tensor of 1 axes"):
        abstract.conv_transpose2d(x, w, tt.fmatrix())
