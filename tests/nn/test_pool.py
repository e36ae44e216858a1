import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.tensor.signal.pool import pool_2d

from fastvae import nn
from fastvae.elbo.rowwise import first_mixing
from fastvae.errors import ConfigurationError
from tests.on_devices import on_every_device

SHAPE = (2, 9, 8)  # channels, rows, columns
CASES = [
    (nn.MaxPool2D(2), dict(ws=(2, 2), mode="max")),
    (nn.MaxPool2D((3, 2), stride=(2, 3), padding=(1, 0)), dict(ws=(3, 2), stride=(2, 3), pad=(1, 0), mode="max")),
    (nn.AveragePool2D(3, 1, "same"), dict(ws=(3, 3), stride=(1, 1), pad=(1, 1), mode="average_inc_pad")),
    (nn.AveragePool2D(3, 2, 2, False), dict(ws=(3, 3), stride=(2, 2), pad=(2, 2), mode="average_exc_pad")),
]


@on_every_device
@pytest.mark.parametrize("layer, arguments", CASES, ids=lambda case: str(getattr(case, "owner", "")))
def test_values_and_shapes_are_those_of_theanos_pooling(layer, arguments):
    images = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype("float32")
    x = theano.shared(images)
    y = theano.function([], layer(x))()
    expected = theano.function([], pool_2d(x, ignore_border=True, **arguments), mode=theano.Mode("cvm", None))()
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    assert y.dtype == "float32" and layer.output_shape(SHAPE) == y.shape[1:] and layer.get_params() == []
    rows = tt.tensor4("rows", dtype="float32")
    assert first_mixing([layer(rows)], [rows]) is None


@on_every_device
def test_an_average_without_the_padding_has_the_gradient_that_theano_lacks(assert_close):
    x = tt.tensor4("x", dtype="float32")
    y = nn.AveragePool2D((1, 3), 1, (0, 1), count_include_pad=False)(x)
    gradient = theano.function([x], tt.grad(tt.sum(y * np.arange(1, 4, dtype="float32")), x))
    expected = [1 / 2 + 2 / 3, 1 / 2 + 2 / 3 + 3 / 2, 2 / 3 + 3 / 2]
    assert_close(gradient(np.zeros((1, 1, 1, 3), "float32")), np.array([[[expected]]]))


@on_every_device
def test_global_average(assert_close):
    x = tt.tensor4("x", dtype="float32")
    images = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype("float32")
    layer = nn.GlobalAveragePool2D()
    assert_close(theano.function([x], layer(x))(images), images.astype(float).mean((2, 3)))
    assert layer.output_shape(SHAPE) == (2,) and first_mixing([layer(x)], [x]) is None


@pytest.mark.parametrize("mode", [theano.Mode("py", None), None], ids=["perform", "compiled"])
def test_images_into_which_no_window_fits_are_an_error(mode):
    x = tt.tensor4("x", dtype="float32")
    pooled = theano.function([x], nn.MaxPool2D((3, 4), padding=(1, 0))(x), mode=mode)
    assert pooled(np.zeros((2, 1, 1, 4), "float32")).shape == (2, 1, 1, 1)
    with pytest.raises((ValueError, AssertionError), match="Pool: windows of 3 x 4 do not fit into the images with"):
        pooled(np.zeros((2, 1, 5, 3), "float32"))


def test_constant_images_without_a_window_are_the_same_error_and_nothing_else(caplog):
    with pytest.raises(
        ValueError, match="Pool: windows of 9 x 9 do not fit into the images with padding 0 x 0, of 5 x 5"
    ):
        nn.MaxPool2D(9)(np.ones((2, 1, 5, 5), "float32")).eval()
    assert not caplog.records


def test_what_is_not_admissible():
    with pytest.raises(ConfigurationError, match="MaxPool2D: window=0 must be"):
        nn.MaxPool2D(0)
    with pytest.raises(ConfigurationError, match="AveragePool2D: count_include_pad=2 must be"):
        nn.AveragePool2D(2, count_include_pad=2)
    with pytest.raises(
        ConfigurationError, match="AveragePool2D 'p': padding=.2, 2. must be smaller than the window 2x3"
    ):
        nn.AveragePool2D((2, 3), padding=2, name="p")
    with pytest.raises(ConfigurationError, match=r"'max_pool': the input shape \(2, 9, 8\) with .* than the window"):
        nn.MaxPool2D(9).output_shape(SHAPE)
    with pytest.raises(ConfigurationError, match="MaxPool2D 'max_pool': the input .* not float32 of 4"):
        nn.MaxPool2D(2)(tt.fmatrix())
