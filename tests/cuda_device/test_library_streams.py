"""Calls of cuBLAS and cuDNN wait for their turn in their handle's stream, and graphs record and replay them."""

import ctypes

import numpy as np
import pytest

from tests.cuda_device.calls import error, scalar

NOTHING, NO_BYTES = ctypes.c_void_p(), ctypes.c_size_t(0)
NON_BLOCKING, RELAXED = 1, 2
EXECUTION_FAILED, INVALIDATED = 13, 901


@pytest.fixture
def stream(libraries):
    """A stream that both handles use."""
    made = ctypes.c_void_p()
    assert not libraries.driver.cuStreamCreate(ctypes.byref(made), NON_BLOCKING)
    libraries.blas_call("cublasSetStream_v2", made)
    libraries.dnn_call("cudnnSetStream", made)
    yield made
    libraries.blas_call("cublasSetStream_v2", NOTHING)
    libraries.dnn_call("cudnnSetStream", NOTHING)
    assert not libraries.driver.cuStreamDestroy_v2(made)


class Calls:
    """A product, then a convolution of it by weights of one pixel; the descriptors do not outlive the call."""

    def __init__(self, libraries, rng):
        self.libraries = libraries
        shapes = (6, 6), (6, 6), (2, 3, 1, 1)
        self.a, self.b, self.w = (libraries.operand(rng.randn(*shape).astype("float32")) for shape in shapes)
        self.c, self.y = libraries.empty((6, 6)), libraries.empty((3, 2, 2, 2))

    def __call__(self):
        libraries, alpha = self.libraries, ctypes.c_float(2)
        operands = self.a.pointer, 6, self.b.pointer, 6, scalar(0), self.c.pointer, 6
        libraries.blas_call("cublasSgemm_v2", 0, 0, 6, 6, 6, ctypes.byref(alpha), *operands)
        x, y, w = libraries.tensor((3, 3, 2, 2)), libraries.tensor(self.y.shape), libraries.filter(self.w.shape)
        convolution = libraries.convolution()
        libraries.dnn_call(
            *("cudnnConvolutionForward", ctypes.byref(alpha), x, self.c.pointer, w, self.w.pointer, convolution, 0),
            *(NOTHING, NO_BYTES, scalar(0), y, self.y.pointer),
        )
        alpha.value = np.nan  # read when it was called
        for kind, descriptor in dict(Tensor=x, Filter=w, Convolution=convolution).items():
            getattr(libraries.cudnn, f"cudnnDestroy{kind}Descriptor")(descriptor)

    def expected(self):
        image = (2 * self.b.read().astype("float64") @ self.a.read()).reshape(3, 3, 2, 2)
        return 2 * np.einsum("nchw,oc->nohw", image, self.w.read()[:, :, 0, 0])

    def peek(self):
        """The result as it lies in the host's memory, on which the device computes, with no synchronisation."""
        floats = (ctypes.c_float * self.y.buffer.size).from_address(self.y.base.value)
        return np.array(floats).reshape(self.y.shape)


def test_nothing_is_computed_before_the_stream_is_waited_for(libraries, rng, stream):
    calls = Calls(libraries, rng)
    calls()
    assert np.isnan(calls.peek()).all()
    assert not libraries.driver.cuStreamSynchronize(stream)
    assert error(calls.peek(), calls.expected()) < 1e-6


def test_a_graph_replays_the_calls_on_what_their_operands_hold_then(libraries, rng, stream):
    calls, graph, executable = Calls(libraries, rng), ctypes.c_void_p(), ctypes.c_void_p()
    driver = libraries.driver
    assert not driver.cuStreamBeginCapture_v2(stream, RELAXED)
    calls()
    assert not driver.cuStreamEndCapture(stream, ctypes.byref(graph))
    assert not driver.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    assert not driver.cuStreamSynchronize(stream)
    assert np.isnan(calls.peek()).all()
    for scale in (1, 3):
        values = scale * np.arange(36, dtype="float32")
        data = values.ctypes.data_as(ctypes.c_void_p)
        assert not driver.cuMemcpyHtoD_v2(calls.a.base, data, ctypes.c_size_t(values.nbytes))
        assert not driver.cuGraphLaunch(executable, stream)
        assert not driver.cuStreamSynchronize(stream)
        assert error(calls.peek(), calls.expected()) < 1e-6
    assert not driver.cuGraphExecDestroy(executable) and not driver.cuGraphDestroy(graph)


def test_a_dot_for_the_host_waits(libraries, rng, stream):
    x, result = libraries.operand(rng.randn(5).astype("float32")), np.full(1, np.nan, "float32")
    at = result.ctypes.data_as(ctypes.c_void_p)
    libraries.blas_call("cublasSdot_v2", 5, x.pointer, 1, x.pointer, 1, at)
    np.testing.assert_allclose(result[0], (x.read().astype("float64") ** 2).sum(), rtol=1e-6)


def test_a_capture_does_not_admit_a_call_that_waits(libraries, rng, stream):
    x, on_host, graph = libraries.empty((5,)), np.empty(1, "float32"), ctypes.c_void_p()
    at = on_host.ctypes.data_as(ctypes.c_void_p)
    assert not libraries.driver.cuStreamBeginCapture_v2(stream, RELAXED)
    assert libraries.blas_status("cublasSdot_v2", 5, x.pointer, 1, x.pointer, 1, at) == EXECUTION_FAILED
    assert libraries.driver.cuStreamEndCapture(stream, ctypes.byref(graph)) == INVALIDATED


def test_a_capture_does_not_admit_a_call_on_the_legacy_stream(libraries, stream):
    x, graph = libraries.empty((2, 3, 4)), ctypes.c_void_p()
    tensor = libraries.tensor(x.shape)
    libraries.dnn_call("cudnnSetStream", NOTHING)
    assert not libraries.driver.cuStreamBeginCapture_v2(stream, RELAXED)
    assert libraries.dnn_status("cudnnSetTensor", tensor, x.pointer, scalar(1)) == 5000
    assert libraries.driver.cuStreamEndCapture(stream, ctypes.byref(graph)) == INVALIDATED
