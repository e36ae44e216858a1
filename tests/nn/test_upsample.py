import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae import nn
from fastvae.errors import ConfigurationError
from tests.on_devices import on_every_device


@on_every_device
@pytest.mark.parametrize("factor, rows, columns", [(2, 2, 2), ((3, 1), 3, 1)])
def test_values_and_shapes_are_those_of_numpys_repeat(factor, rows, columns):
    layer, x = nn.Upsample2D(factor), tt.tensor4("x", dtype="float32")
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    expected = images.repeat(rows, axis=2).repeat(columns, axis=3)
    np.testing.assert_array_equal(theano.function([x], layer(x))(images), expected)
    assert layer.output_shape(images.shape[1:]) == expected.shape[1:]
    assert layer.get_params() == []


@on_every_device
def test_bilinear_between_the_pixels_of_the_same_area():
    layer, x = nn.Upsample2D((1, 2), mode="bilinear"), tt.tensor4("x", dtype="float32")
    images = np.random.default_rng(0).normal(size=(2, 3, 2, 5)).astype("float32")
    places = np.clip((np.arange(10) + 0.5) / 2 - 0.5, 0, 4)
    expected = [np.interp(places, np.arange(5), row) for row in images.reshape(-1, 5)]
    value = theano.function([x], layer(x))(images)
    np.testing.assert_allclose(value.reshape(-1, 10), expected, rtol=1e-5, atol=1e-6)
    assert layer.output_shape((3, 2, 5)) == value.shape[1:]


def test_what_is_not_admissible():
    with pytest.raises(ConfigurationError, match="Upsample2D: mode='cubic' must be"):
        nn.Upsample2D(2, mode="cubic")
    with pytest.raises(ConfigurationError, match="Upsample2D: factor=0 must be"):
        nn.Upsample2D(0)
    with pytest.raises(ConfigurationError, match=r"Upsample2D 'up': the input shape \(3, 4\) does not fit"):
        nn.Upsample2D(2, name="up").output_shape((3, 4))
    with pytest.raises(ConfigurationError, match="Upsample2D 'upsample': the input .* not float32 of 4"):
        nn.Upsample2D(2)(tt.fmatrix())
