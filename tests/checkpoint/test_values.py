import numpy as np
import pytest
import scipy.sparse
import theano

from fastvae.checkpoint import container, values
from fastvae.errors import ConfigurationError


def test_random_states_come_back_bit_for_bit(tmp_path):
    state = np.random.RandomState(3)
    state.normal()  # an odd number of normals leaves the second of a pair for later
    container.write(tmp_path / "c", {"value": values.encode(state)})
    again = values.decode(container.read(tmp_path / "c")["value"])
    assert again.normal(size=700).tobytes() == state.normal(size=700).tobytes()


def test_arrays_are_themselves():
    array = np.ones((2, 3), "float32")
    assert values.decode(values.encode(array)) is array
    assert values.encode(np.float32(2)).shape == ()


def test_what_a_checkpoint_cannot_hold_is_named():
    with pytest.raises(ConfigurationError, match="weights holds a csr_matrix, which a checkpoint cannot"):
        values.encode(scipy.sparse.csr_matrix((2, 2)), "weights")


def test_a_restored_array_lies_in_memory_as_it_did():
    before = np.moveaxis(np.zeros((10, 3, 4), "float32"), 0, -1)
    variable = theano.shared(before.copy(order="K"))
    values.restore(variable, np.arange(120, dtype="float32").reshape(3, 4, 10))
    value = variable.get_value(borrow=True)
    assert value.strides == before.strides and (value.ravel() == np.arange(120)).all()


def test_names_types_and_shapes_tell_variables_apart():
    assert values.describe("w", np.ones(2, "float32")) == "w float32 (2,)"
    assert values.describe(None, values.encode(np.random.RandomState(1))) == "unnamed RandomState"
