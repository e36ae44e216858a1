import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae import collect_params
from fastvae.elbo.replacements import as_variables
from fastvae.errors import ConfigurationError

ARRAYS = [np.arange(3), np.arange(3.0), [0, 1, 2], (0.0, 1, 2), np.arange(6)[::2] / 2, np.arange(3, dtype=">f4")]


@pytest.mark.parametrize("value", ARRAYS)
def test_arrays_and_lists_become_variables_of_the_inputs_type(value):
    x = tt.fvector("x")
    variable = as_variables({x: value})[x]
    assert variable.type == x.type and variable.get_value().tolist() == [0, 1, 2]
    assert collect_params(tt.exp(variable)) == []


def test_variables_stay_themselves():
    x, other = tt.fvector("x"), theano.shared(np.ones(3, "float32"))
    assert as_variables({x: other})[x] is other and as_variables(None) == {}


def test_numbers_and_patterns():
    x, row = tt.fscalar("x"), tt.frow("row")
    replaced = as_variables({x: 3, row: np.ones((1, 4))})
    assert replaced[x].get_value() == 3 and replaced[row].broadcastable == (True, False)


@pytest.mark.parametrize(
    "key, value, message",
    [
        (tt.fvector("x"), np.ones((2, 2)), r"x is a TensorType\(float32, vector\), .* give an array of 1 axes"),
        (tt.fvector("x"), ["a"], "cannot be replaced by a list"),
        (tt.fvector("x"), None, "cannot be replaced by a NoneType"),
        (tt.bvector("x"), [1, 300], r"300 at \(1,\) would become 44: declare the input"),
        (tt.ivector("x"), [1, 0.5], r"0.5 at \(1,\) would become 0"),
        (tt.fvector("x"), [1.0, 1e300], r"1e\+300 at \(1,\) would become inf"),
        ("x", [1.0], "'x' is no theano variable"),
    ],
)
def test_what_does_not_fit_is_named(key, value, message):
    with pytest.raises(ConfigurationError, match=message):
        as_variables({key: value})


def test_a_dict_is_needed():
    with pytest.raises(ConfigurationError, match=r"more_replacements=\[1\] must be a dict"):
        as_variables([1])
