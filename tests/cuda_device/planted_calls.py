"""Faults of a kind that a user of cuBLAS and cuDNN makes, each planted in one call on the checking device.

JSON on the output: for each fault the status of the call, the norm-wise error of its result and what the device found,
and the same of the call without the fault.
"""

import ctypes
import json
import os
import pathlib

import numpy as np

from tests import cuda_device
from tests.cuda_device.calls import Libraries, channels_last, error, packed, scalar

FMA, DEFAULT = 3, 0


def gemm(libraries, rng, lda=5, ldb=7, math=0, c=None, m=5, n=4, k=7, transposed=0):
    """C = A B by columns."""
    a, b = (libraries.operand(rng.randn(*shape).astype("float32"), (1, shape[0])) for shape in ((m, k), (k, n)))
    result = libraries.empty((m, n), strides=(1, m))
    at = result.pointer if c is None else ctypes.c_void_p(a.pointer.value + c)
    libraries.blas_call("cublasSetMathMode", math)
    expected = a.read().astype("float64") @ b.read()
    operands = a.pointer, lda, b.pointer, ldb, scalar(0), at, m
    return libraries.blas_status("cublasSgemm_v2", transposed, 0, m, n, k, scalar(1), *operands), result, expected


def tables(libraries, rng):
    """Two products of one entry each, in tables of which the last pointer is one entry too far."""
    a, b, c = (libraries.operand(rng.randn(2).astype("float32")) for _ in range(3))
    expected = a.read() * b.read()
    at = [np.array([o.base.value + 4 * i for i in (0, 1 + (o is c))], "uint64") for o in (a, b, c)]
    one, other, result = (libraries.operand(table).pointer for table in at)
    operands = one, 1, other, 1, scalar(0), result, 1, 2
    return libraries.blas_status("cublasSgemmBatched", 0, 0, 1, 1, 1, scalar(1), *operands), c, expected


def never_written(libraries, rng):
    """A B, where A is memory that was allocated and no more."""
    a, (b, c) = ctypes.c_void_p(), (libraries.empty((4, 4)) for _ in range(2))
    assert not libraries.driver.cuMemAlloc_v2(ctypes.byref(a), ctypes.c_size_t(64))
    operands = a, 4, b.pointer, 4, scalar(0), c.pointer, 4
    return libraries.blas_status("cublasSgemm_v2", 0, 0, 4, 4, 4, scalar(1), *operands), c, np.ones((4, 4))


def convolution(libraries, rng, strides=None, math=FMA, size=4096, room=4096, in_place=False):
    """Weights of one pixel, so that the top is a product; algorithm 1, which needs 4096 bytes of workspace."""
    shape = (2, 3, 4, 5)
    image, weights = rng.randn(*shape).astype("float32"), rng.randn(3, 3, 1, 1).astype("float32")
    x, w, y, workspace = map(libraries.operand, (image, weights, *(np.zeros(n, "float32") for n in (shape, room // 4))))
    status = libraries.dnn_status(
        *("cudnnConvolutionForward", scalar(1), libraries.tensor(shape, strides or packed(shape)), x.pointer),
        *(libraries.filter(weights.shape), w.pointer, libraries.convolution(math=math), 1, workspace.pointer),
        *(ctypes.c_size_t(size), scalar(0), libraries.tensor(shape), (x if in_place else y).pointer),
    )
    return status, y, np.einsum("nchw,oc->nohw", image, weights[:, :, 0, 0], dtype="float64")


def statistics(libraries, rng):
    """Batch normalisation whose running mean and saved mean are one array."""
    x, y = libraries.operand(rng.randn(2, 3).astype("float32")), libraries.empty((2, 3))
    ones, result, other = libraries.operand(np.ones(3, "float32")), libraries.empty((3,)), libraries.empty((2, 3))
    tensor, parameters = libraries.tensor((2, 3, 1, 1)), libraries.tensor((1, 3, 1, 1))
    status = libraries.dnn_status(
        *("cudnnBatchNormalizationForwardTraining", 1, scalar(1), scalar(0), tensor, x.pointer, tensor, y.pointer),
        *(parameters, ones.pointer, ones.pointer, ctypes.c_double(1), result.pointer, other.pointer),
        *(ctypes.c_double(1e-4), result.pointer, ctypes.c_void_p(other.pointer.value + 12)),
    )
    return status, result, x.read().mean(0, "float64")


FAULTS = {
    "gemm": lambda *given: gemm(*given),
    "leading dimensions swapped": lambda *given: gemm(*given, lda=7, ldb=7),
    "a leading dimension too large by one": lambda *given: gemm(*given, lda=6),
    "an operand taken for its transposition": lambda *given: gemm(*given, lda=7, m=7, transposed=1),
    "a table of pointers with one too far": tables,
    "TF32 left on in cuBLAS": lambda *given: gemm(*given, math=3),
    "C overlaps A": lambda *given: gemm(*given, c=16),
    "an operand that nobody wrote": never_written,
    "convolution": lambda *given: convolution(*given),
    "strides of channels last": lambda *given: convolution(*given, strides=channels_last((2, 3, 4, 5))),
    "a stride too large": lambda *given: convolution(*given, strides=(66, 22, 5, 1)),
    "TF32 left on in cuDNN": lambda *given: convolution(*given, math=DEFAULT),
    "a workspace said to be too small": lambda *given: convolution(*given, size=4092),
    "a workspace that is smaller than said": lambda *given: convolution(*given, room=4092),
    "two results in one place": statistics,
    "the top overlaps the image": lambda *given: convolution(*given, in_place=True),
}


def main():
    libraries, report = Libraries(pathlib.Path(os.environ["TEST_DEVICE"])), {}
    for name, fault in FAULTS.items():
        cuda_device.findings()
        status, result, expected = fault(libraries, np.random.RandomState(0))
        found = cuda_device.findings()
        report[name] = dict(status=status, error=error(result.read(), expected), findings=found)
        libraries.blas_call("cublasSetMathMode", 0)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
