import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae import collect_params, on_disk
from fastvae.errors import ConfigurationError, DataError
from fastvae.minibatch import Minibatch
from fastvae.minibatch.replacements import as_variables, check_replacement

BYTES = np.arange(9 * 16, dtype="uint8").reshape(9, 1, 4, 4)
xs = tt.tensor4("xs", dtype="float32")
labels = tt.lvector("labels")


def test_what_fits_is_returned():
    batch = Minibatch(BYTES, 3, scale=1 / 255)
    assert check_replacement(xs, batch) is batch
    shared = theano.shared(np.zeros((3, 1, 4, 4), "float32"))
    assert check_replacement(xs, shared) is shared
    assert check_replacement(xs, np.ones((3, 1, 4, 4), ">f8")).dtype == np.float32
    assert check_replacement(labels, [1, 2, 3]).dtype == np.int64
    assert check_replacement(tt.scalar("s", dtype="float32"), 0.5).shape == ()


@pytest.mark.parametrize(
    "key, value, error, message",
    [
        (xs, Minibatch(BYTES, 3), ConfigurationError, r"xs takes float32, and uint8 .*\(..., scale=1 / 255"),
        (xs, Minibatch(BYTES > 7, 3), ConfigurationError, r"xs takes float32, and bool .* x.astype\('float32'\)"),
        (xs, Minibatch(np.ones((9, 4, 4)), 3), ConfigurationError, r"xs takes 4 axes, and 3 .* with x\[:, None\]"),
        (xs, theano.shared(np.ones((3, 1, 4, 4))), ConfigurationError, "xs takes float32, and float64"),
        (tt.vector("y", dtype="float32"), Minibatch(np.arange(9), 3), ConfigurationError, "y takes float32, and int64"),
        (labels, Minibatch(np.ones(9), 3), ConfigurationError, r"labels takes int64, .* x.astype\('int64'\)"),
        (labels, Minibatch(np.ones((9, 2), int), 3), ConfigurationError, "labels takes 1 axes, and 2"),
        (tt.col("c", dtype="float32"), Minibatch(np.ones((9, 2)), 3), ConfigurationError, "c takes length 1 on axis 1"),
        (xs, Minibatch((BYTES, BYTES), 3), ConfigurationError, "xs is to be replaced by a tuple of 2 variables"),
        ("xs", Minibatch(BYTES, 3), ConfigurationError, "the key 'xs' is not a theano variable"),
        (xs, BYTES, DataError, "found uint8 where float32 is needed: give x / 255"),
        (xs, np.full((3, 1, 4, 4), np.nan), DataError, "the value for xs is nan at"),
        (xs, np.ma.masked_equal(np.ones((3, 1, 4, 4)), 1), DataError, "found a masked array"),
        (xs, np.ones((3, 4, 4)), ConfigurationError, "xs takes 4 axes, and 3"),
    ],
)
def test_what_does_not_fit_is_one_line_with_a_remedy(key, value, error, message):
    with pytest.raises(error, match=message) as caught:
        check_replacement(key, value)
    assert "\n" not in str(caught.value)


def test_rows_on_disk_need_a_minibatch(tmp_path):
    np.save(tmp_path / "x.npy", BYTES)
    with pytest.raises(ConfigurationError, match=r"xs is to be replaced by rows on disk: give fastvae.Minibatch"):
        check_replacement(xs, on_disk(tmp_path / "x.npy"))


ARRAYS = [np.arange(3.0), [0.0, 1.0, 2.0], (0.0, 1, 2), np.arange(6)[::2] / 2, np.arange(3, dtype=">f4")]


@pytest.mark.parametrize("value", ARRAYS)
def test_data_become_variables_of_the_inputs_type(value):
    x = tt.fvector("x")
    variable = as_variables({x: value})[x]
    assert variable.type == x.type and variable.get_value().tolist() == [0, 1, 2]
    assert collect_params(tt.exp(variable)) == []


def test_variables_stay_themselves():
    x, other = tt.fvector("x"), theano.shared(np.ones(3, "float32"))
    assert as_variables({x: other})[x] is other and as_variables(None) == {}


def test_numbers_and_patterns():
    x, row = tt.fscalar("x"), tt.frow("row")
    replaced = as_variables({x: 3.0, row: np.ones((1, 4))})
    assert replaced[x].get_value() == 3 and replaced[row].broadcastable == (True, False)
