import numpy as np
import pytest
import scipy.stats
import theano
import theano.tensor as tt

from fastvae.errors import ConfigurationError, DataError
from fastvae.minibatch.samplers import random_streams
from fastvae.minibatch.values import Values
from tests.on_devices import on_every_device

BYTES = np.arange(256, dtype="uint8").reshape(1, 256)


@on_every_device
def test_bytes_are_scaled_to_float32():
    scaled = Values.of(BYTES, scale=1 / 255).in_step(theano.shared(BYTES), None)
    assert scaled.dtype == "float32"
    np.testing.assert_allclose(scaled.eval(), BYTES / 255, rtol=1e-6)
    assert scaled.eval().max() == 1


def test_without_options_nothing_changes():
    x = tt.as_tensor(BYTES)
    assert Values.of(BYTES).in_step(x, None) is x


@on_every_device
@pytest.mark.parametrize("batch_size", [2000, None])
def test_binarized_values_are_bernoulli(batch_size):
    intensities = np.tile(np.array([[0, 51, 128, 255]], "uint8"), (2000, 1))
    values = Values.of(intensities, scale=1 / 255, binarize=True)
    draw = theano.function([], values.in_step(theano.shared(intensities), random_streams(1), batch_size))
    drawn, again = draw(), draw()
    assert drawn.dtype == np.float32 and set(drawn.ravel()) == {0, 1} and (drawn != again).any()
    for column, intensity in enumerate((0, 51, 128, 255)):
        ones = int(drawn[:, column].sum())
        assert scipy.stats.binomtest(ones, 2000, intensity / 255).pvalue > 0.001


def test_the_example_is_binarized_at_a_half():
    example = np.array([[0, 127, 128, 255]], "uint8")
    assert Values.of(example, 1 / 255, True).example(example).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("scale", [0, -1, "1/255", np.nan, np.inf, (1,)])
def test_the_scale_is_a_positive_number(scale):
    with pytest.raises(ConfigurationError, match="scale="):
        Values.of(BYTES, scale=scale)


def test_binarize_is_a_bool():
    with pytest.raises(ConfigurationError, match="binarize=1 must be"):
        Values.of(BYTES, binarize=1)


@pytest.mark.parametrize(
    "array, options, message",
    [
        (np.array([[0, np.nan]], "float32"), {}, r"images is nan at \(7, 1\); every value must be finite"),
        (np.array([[0, 1.5]], "float32"), {"binarize": True}, r"is 1.5 at \(7, 1\); binarize needs values in \[0, 1\]"),
        (np.array([[-1, np.nan]], "float32"), {"binarize": True}, r"is -1.0 at \(7, 0\)"),
        (np.array([[0, np.inf]], "float32"), {"binarize": True}, r"is inf at \(7, 1\)"),
        (np.array([[0, 2]], "uint8"), {"binarize": True}, r"is 2 at \(7, 1\)"),
    ],
)
def test_values_are_checked(array, options, message):
    with pytest.raises(DataError, match=message):
        Values.of(array, **options).check(array, rows=[7], source="images")


def test_rows_must_be_of_one_kind():
    values = Values.of(np.zeros((2, 3), "float32"))
    for other in (np.zeros((2, 4), "float32"), np.zeros((2, 3), "uint8")):
        with pytest.raises(DataError, match=r"found rows of .* the first is float32 \(3,\)"):
            values.check(other)
