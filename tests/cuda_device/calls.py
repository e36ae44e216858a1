"""cuBLAS and cuDNN of the tests' device called through ctypes, with neither libgpuarray nor Theano.

Libraries   both libraries on a device's folder, with a handle each
Operand     an array within a buffer of the device
"""

import ctypes
import math

import numpy as np
from hypothesis import HealthCheck, settings
from numpy.lib.stride_tricks import as_strided

SWEEP = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

CUDNN_TYPES = {"float32": 0, "float64": 1, "float16": 2}


def ints(values):
    return (ctypes.c_int * len(values))(*values)


def packed(shape):
    """Strides of an array in rows, in elements."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def channels_last(shape):
    n, c, h, w = shape
    return (h * w * c, 1, w * c, c)


class Libraries:
    """The driver, cuBLAS and cuDNN in `folder`, and handles of the latter two on the legacy stream."""

    def __init__(self, folder):
        self.driver = ctypes.CDLL(str(folder / "driver/libcuda.so.1"))
        self.cublas = ctypes.CDLL(str(*folder.glob("cuda/libcublas.so.1?")))
        self.cudnn = ctypes.CDLL(str(folder / "cuda/libcudnn.so.9"))
        self.blas, self.dnn = ctypes.c_void_p(), ctypes.c_void_p()
        assert not self.cublas.cublasCreate_v2(ctypes.byref(self.blas))
        assert not self.cudnn.cudnnCreate(ctypes.byref(self.dnn))

    def close(self):
        assert not self.cublas.cublasDestroy_v2(self.blas)
        assert not self.cudnn.cudnnDestroy(self.dnn)

    def blas_status(self, name, *arguments):
        return getattr(self.cublas, name)(self.blas, *arguments)

    def dnn_status(self, name, *arguments):
        return getattr(self.cudnn, name)(self.dnn, *arguments)

    def blas_call(self, name, *arguments):
        assert self.blas_status(name, *arguments) == 0, name

    def dnn_call(self, name, *arguments):
        assert self.dnn_status(name, *arguments) == 0, name

    def descriptor(self, kind, *settings, setter=None):
        """A descriptor of cuDNN, set by `cudnnSet...Descriptor` of that name."""
        made = ctypes.c_void_p()
        assert not getattr(self.cudnn, f"cudnnCreate{kind}Descriptor")(ctypes.byref(made))
        if settings:
            status = getattr(self.cudnn, setter or f"cudnnSet{kind}Descriptor")(made, *settings)
            assert status == 0, (kind, settings, status)
        return made

    def tensor(self, shape, strides=None, dtype="float32"):
        sizes = ints(shape), ints(strides or packed(shape))
        return self.descriptor("Tensor", CUDNN_TYPES[dtype], len(shape), *sizes, setter="cudnnSetTensorNdDescriptor")

    def filter(self, shape, dtype="float32", channels_last=False):
        settings = CUDNN_TYPES[dtype], int(channels_last), len(shape), ints(shape)
        return self.descriptor("Filter", *settings, setter="cudnnSetFilterNdDescriptor")

    def convolution(
        self, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, flip=False, math=3, dtype="float32"
    ):
        settings = *padding, *stride, *dilation, int(not flip), CUDNN_TYPES[dtype]
        made = self.descriptor("Convolution", *settings, setter="cudnnSetConvolution2dDescriptor")
        assert not self.cudnn.cudnnSetConvolutionGroupCount(made, groups)
        assert not self.cudnn.cudnnSetConvolutionMathType(made, math)
        return made

    def operand(self, values, strides=None):
        return Operand(self, values, strides)

    def empty(self, shape, dtype="float32", strides=None):
        """An operand to be written: NaN until then."""
        return Operand(self, np.full(shape, np.nan, dtype), strides)


class Operand:
    """An array in the device's memory with `strides` in elements; whatever lies between its entries is NaN."""

    def __init__(self, libraries, values, strides=None):
        self.libraries, self.shape, self.dtype = libraries, values.shape, values.dtype
        self.strides = strides or packed(values.shape)
        steps = [(n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)]
        self.start = -sum(min(step, 0) for step in steps)
        self.buffer = np.full(1 + sum(map(abs, steps)), np.nan, self.dtype)
        self._view()[...] = values
        self.base = ctypes.c_void_p()
        size = ctypes.c_size_t(self.buffer.nbytes)
        assert not libraries.driver.cuMemAlloc_v2(ctypes.byref(self.base), size)
        data = self.buffer.ctypes.data_as(ctypes.c_void_p)
        assert not libraries.driver.cuMemcpyHtoD_v2(self.base, data, size)

    def _view(self, buffer=None):
        buffer = self.buffer if buffer is None else buffer
        return as_strided(buffer[self.start :], self.shape, [stride * buffer.itemsize for stride in self.strides])

    @property
    def pointer(self):
        """Where the first entry is."""
        return ctypes.c_void_p(self.base.value + self.start * self.buffer.itemsize)

    def read(self):
        """The array as the device has it now; fails if anything between its entries was written."""
        assert not self.libraries.driver.cuStreamSynchronize(None)
        size, data = ctypes.c_size_t(self.buffer.nbytes), self.buffer.ctypes.data_as(ctypes.c_void_p)
        assert not self.libraries.driver.cuMemcpyDtoHAsync_v2(data, self.base, size, None)
        assert not self.libraries.driver.cuStreamSynchronize(None)
        between = np.ones(self.buffer.shape, "bool")
        self._view(between)[...] = False
        assert np.isnan(self.buffer[between]).all(), "written between the entries"
        return self._view().copy()

    def free(self):
        assert not self.libraries.driver.cuMemFree_v2(self.base)


def scalar(value, dtype="float32"):
    """alpha or beta, on the host."""
    return ctypes.byref((ctypes.c_double if dtype == "float64" else ctypes.c_float)(value))


def tf32(values):
    """Values rounded to 10 bits of mantissa, to nearest and ties away from zero."""
    mantissa, exponent = np.frexp(np.asarray(values, "float64"))
    scaled = mantissa * 2**11
    return np.ldexp(np.sign(scaled) * np.floor(np.abs(scaled) + 0.5), exponent - 11)


def error(got, expected):
    """The norm-wise error."""
    difference = np.linalg.norm(np.asarray(got, "float64") - expected)
    return float(difference / (np.linalg.norm(expected) or 1.0))
