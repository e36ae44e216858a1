import numpy as np
import pytest
import theano.tensor as tt

from fastvae import nn
from fastvae.errors import ConfigurationError


def test_parameters_are_named_float32_and_in_order():
    layer = nn.Conv2D(2, 3, 3, name="encoder.conv1", rng=0)
    assert [p.name for p in layer.get_params()] == ["encoder.conv1.weight", "encoder.conv1.bias"]
    assert all(p.dtype == "float32" for p in layer.get_params())
    layer.get_params().clear()
    assert len(layer.get_params()) == 2


@pytest.mark.parametrize("name", ["", None, 3])
def test_name_must_be_a_string(name):
    with pytest.raises(ConfigurationError, match="Linear: name="):
        nn.Linear(2, 3, name=name)


def test_activation_and_initialisers_must_be_functions():
    with pytest.raises(ConfigurationError, match="Linear 'd': activation='relu' must be None or a function"):
        nn.Linear(2, 3, activation="relu", name="d")
    with pytest.raises(ConfigurationError, match="Linear 'd': bias=0 must be None or an initialiser"):
        nn.Linear(2, 3, bias=0, name="d")


@pytest.mark.parametrize("initialiser", [lambda *_: np.zeros((2, 3)), lambda *_: np.zeros(3, "float32")])
def test_an_initialiser_of_another_dtype_or_shape_is_refused(initialiser):
    with pytest.raises(ConfigurationError, match=r"of weight returned float\d\d \(.*\), not float32 \(2, 3\)"):
        nn.Linear(2, 3, weight=initialiser)


@pytest.mark.parametrize(
    "layer, x",
    [
        (nn.Linear(2, 3), tt.matrix("x", dtype="float64")),
        (nn.Linear(2, 3), tt.tensor4("x", dtype="float32")),
        (nn.Conv2D(1, 2, 3), tt.tensor4("x", dtype="uint8")),
        (nn.Conv2D(1, 2, 3), np.zeros((1, 1, 5, 5))),
        (nn.ConvTranspose2D(1, 2, 3), tt.matrix("x", dtype="float32")),
        (nn.Flatten(), tt.matrix("x", dtype="float32")),
        (nn.Reshape((1, 2, 3)), tt.imatrix("x")),
    ],
)
def test_inputs_of_another_dtype_or_rank_are_refused(layer, x):
    with pytest.raises(ConfigurationError, match=r"the input .* is .* of \d dimensions, not float32 of \d"):
        layer(x)


@pytest.mark.parametrize("layer", [nn.BatchNorm(2), nn.Dropout(0.5), nn.PReLU(2)])
def test_a_layer_of_vectors_and_images_says_so(layer):
    with pytest.raises(ConfigurationError, match="x is float32 of 3 dimensions, not float32 of 2 or 4: reshape it"):
        layer(tt.tensor3("x", dtype="float32"))


@pytest.mark.parametrize(
    "layer, shape",
    [
        (nn.Linear(2, 3), (3,)),
        (nn.Linear(2, 3), (1, 2)),
        (nn.Conv2D(1, 2, 3), (3, 8, 8)),
        (nn.ConvTranspose2D(1, 2, 3), (1, 0, 8)),
        (nn.Flatten(), (8,)),
        (nn.Reshape((1, 2, 3)), (7,)),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_shape(layer, shape):
    with pytest.raises(ConfigurationError) as refused:
        layer.output_shape(shape)
    assert f"the input shape {shape} does not fit (" in str(refused.value)
