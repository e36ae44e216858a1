import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae import nn
from fastvae.errors import ConfigurationError


def test_flatten_is_c_order_and_reshape_its_inverse():
    x = tt.tensor4("x", dtype="float32")
    flat = nn.Flatten()(x)
    both = theano.function([x], [flat, nn.Reshape((2, 3, 4))(flat)])
    images = np.arange(5 * 24, dtype=np.float32).reshape(5, 2, 3, 4)
    flat_now, back = both(images)
    assert np.array_equal(flat_now, images.reshape(5, 24)) and np.array_equal(back, images)


def test_shapes():
    assert nn.Flatten().output_shape((2, 3, 4)) == (24,)
    assert nn.Reshape((2, 3, 4)).output_shape((24,)) == (2, 3, 4)
    assert nn.Flatten().get_params() == nn.Reshape((2, 3, 4)).get_params() == []


def test_reshape_checks_its_shape():
    with pytest.raises(ConfigurationError, match=r"Reshape: shape=\(2, 3\) must be"):
        nn.Reshape((2, 3))
