"""Theano's own GPU Ops where they need mending."""

import fastvae  # isort: skip  # noqa: F401
import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano import scalar

from tests.on_devices import GPUS, on_every_device


@on_every_device
def test_numbers_are_rounded_and_divided_with_a_remainder():
    values = np.array([-2.5, -1.5, -0.7, 0.2, 0.5, 1.5, 2.6], "float32")
    x = theano.shared(values)
    rounded, rest = theano.function([], [tt.round(x, "half_to_even"), x % 2])()
    assert np.asarray(rounded).tolist() == np.round(values).tolist()
    np.testing.assert_allclose(rest, values % np.float32(2), rtol=1e-6)


class NoSuchFunction(scalar.UnaryScalarOp):
    """An Op whose C code no compiler takes."""

    def impl(self, x):
        return x

    def c_code(self, node, name, inputs, outputs, sub):
        return f"{outputs[0]} = no_such_function({inputs[0]});"

    def c_code_cache_version(self):
        return (1,)


@pytest.mark.parametrize("device", GPUS, indirect=True)
def test_a_kernel_that_the_device_refuses_is_an_error_that_says_so(device):
    """Stock's code ends the process."""
    from theano.gpuarray.elemwise import GpuElemwise

    x = theano.shared(np.arange(3, dtype="float32"))
    refused = GpuElemwise(NoSuchFunction(scalar.same_out, name="no_such_function"))(x)
    with pytest.raises(RuntimeError, match="the device refuses its kernel: (nvrtc|cl)[A-Z]"):
        theano.function([], refused, mode=theano.compile.get_default_mode().excluding("fastvae_gpu"))
    assert theano.function([], x + 1)().tolist() == [1, 2, 3]
