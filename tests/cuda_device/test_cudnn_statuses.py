"""Descriptors: the stub cuDNN answers what the real one does, which makes them without a GPU, too.

The statuses are those of cuDNN 9.10.2. Where a real cuDNN 9 is installed it is asked as well.
"""

import ctypes

import pytest

from fastvae.devices import cuda_search
from tests.cuda_device.calls import ints

OK, BAD, UNSUPPORTED = 0, 2000, 3000
ONES = (1,) * 9
BIG = 1 << 30

# The function that sets a descriptor of a kind, its arguments (a tuple is an array), and the status.
STATUSES = {
    ("Tensor", "cudnnSetTensor4dDescriptorEx"): [
        *[
            ((0, 2, 3, 4, 5, 60, 20, 5, 1), OK),
            ((0, 0, 3, 4, 5, 60, 20, 5, 1), BAD),
            ((0, -1, 3, 4, 5, 60, 20, 5, 1), BAD),
        ],
        *[((0, 2, 3, 4, 5, 0, 20, 5, 1), BAD), ((0, 2, 3, 4, 5, 60, 20, 5, 0), BAD), ((0, 1, 3, 1, 1, 0, 1, 0, 0), OK)],
        *[
            ((0, 2, 3, 4, 5, -60, 20, 5, 1), OK),
            ((0, 2, 3, 4, 5, 10, 20, 5, 1), OK),
            ((1, 2, 3, 4, 5, 60, 20, 5, 1), OK),
        ],
        *[((17, 2, 3, 4, 5, 60, 20, 5, 1), BAD), ((-1, 2, 3, 4, 5, 60, 20, 5, 1), BAD)],
        *[((0, 32768, 1, 256, 256, 65536, 65536, 256, 1), UNSUPPORTED), ((0, 2, 1, 1, 1, BIG, 1, 1, 1), OK)],
        *[((0, 32767, 1, 256, 256, 65536, 65536, 256, 1), OK), ((0, 2, 2, 1, 1, BIG, BIG, 1, 1), UNSUPPORTED)],
        *[((0, 3, 1, 1, 1, BIG, 1, 1, 1), UNSUPPORTED), ((0, 3, 1, 1, 1, BIG - 1, 1, 1, 1), OK)],
    ],
    ("Tensor", "cudnnSetTensor4dDescriptor"): [
        *[((0, 0, 2, 3, 4, 5), OK), ((1, 0, 2, 3, 4, 5), OK), ((2, 0, 2, 3, 4, 5), BAD), ((9, 0, 2, 3, 4, 5), BAD)],
        *[((0, 0, 0, 3, 4, 5), BAD), ((0, 99, 2, 3, 4, 5), BAD)],
    ],
    ("Tensor", "cudnnSetTensorNdDescriptor"): [
        *[((0, 3, (2, 3, 4), (12, 4, 1)), OK), ((0, 2, (2, 3), (3, 1)), OK), ((0, 1, (2,), (1,)), BAD)],
        *[
            ((0, 0, (), ()), BAD),
            ((0, -1, (2,), (1,)), BAD),
            ((0, 8, ONES, ONES), OK),
            ((0, 9, ONES, ONES), UNSUPPORTED),
        ],
        *[((0, 4, (2, 3, 4, 5), (60, 20, -5, 1)), OK), ((0, 4, (2, 3, 4, 5), (60, 20, 0, 1)), BAD)],
        ((0, 4, (1, 3, 4, 5), (0, 20, 5, 1)), OK),
    ],
    ("Filter", "cudnnSetFilter4dDescriptor"): [
        *[((0, 0, 4, 3, 2, 2), OK), ((0, 1, 4, 3, 2, 2), OK), ((0, 2, 4, 3, 2, 2), BAD), ((5, 2, 4, 4, 2, 2), OK)],
        *[((0, 0, 0, 3, 2, 2), BAD), ((0, 0, 4, 3, -2, 2), BAD), ((0, 5, 4, 3, 2, 2), BAD), ((77, 0, 4, 3, 2, 2), BAD)],
    ],
    ("Filter", "cudnnSetFilterNdDescriptor"): [
        *[((0, 0, 3, (4, 3, 2)), OK), ((0, 0, 2, (4, 3)), BAD), ((0, 0, 8, ONES), OK), ((0, 0, 9, ONES), UNSUPPORTED)],
        ((0, 0, 4, (4, 0, 2, 2)), BAD),
    ],
    ("Convolution", "cudnnSetConvolution2dDescriptor"): [
        *[((0, 0, 1, 1, 1, 1, 1, 0), OK), ((0, 0, 0, 1, 1, 1, 1, 0), BAD), ((-1, 0, 1, 1, 1, 1, 1, 0), BAD)],
        *[((0, 0, 1, 1, 0, 1, 1, 0), BAD), ((0, 0, 1, 1, 1, 1, 2, 0), BAD), ((0, 0, 1, 1, 1, 1, 0, 0), OK)],
        *[((0, 0, 1, 1, 1, 1, 1, 1), OK), ((0, 0, 1, 1, 1, 1, 1, 2), OK), ((0, 0, 1, 1, 1, 1, 1, 4), OK)],
        *[((0, 0, 1, 1, 1, 1, 1, 3), BAD), ((0, 0, 1, 1, 1, 1, 1, 9), BAD), ((0, 0, 1, 1, 1, 1, -1, 0), BAD)],
    ],
    ("Convolution", "cudnnSetConvolutionNdDescriptor"): [
        *[
            ((n, (0,) * 9, ONES, ONES, 1, 0), status)
            for n, status in ((-1, BAD), (0, OK), (3, OK), (6, OK), (7, UNSUPPORTED))
        ],
    ],
    ("Convolution", "cudnnSetConvolutionMathType"): [((math,), OK if 0 <= math <= 3 else BAD) for math in range(-1, 5)],
    ("Convolution", "cudnnSetConvolutionGroupCount"): [((-1,), BAD), ((0,), BAD), ((1,), OK), ((2,), OK)],
    ("Activation", "cudnnSetActivationDescriptor"): [
        *[((mode, 0, 1.0), OK if 0 <= mode <= 6 else BAD) for mode in range(-1, 8)],
        *[((1, 1, 0.0), OK), ((1, 2, 0.0), BAD), ((3, 0, -1.0), OK)],
    ],
    ("Activation", "cudnnSetActivationDescriptorSwishBeta"): [((1.0,), OK)],
    ("Pooling", "cudnnSetPooling2dDescriptor"): [
        *[((mode, 0, 2, 2, 0, 0, 2, 2), OK if 0 <= mode <= 3 else BAD) for mode in range(-1, 5)],
        *[((0, 1, 2, 2, 0, 0, 2, 2), OK), ((0, 2, 2, 2, 0, 0, 2, 2), BAD), ((0, 0, 0, 2, 0, 0, 2, 2), BAD)],
        *[((0, 0, 2, 2, -1, 0, 2, 2), OK), ((0, 0, 2, 2, 0, 0, 0, 2), BAD), ((0, 0, 2, 2, 3, 3, 2, 2), OK)],
    ],
    ("Pooling", "cudnnSetPoolingNdDescriptor"): [
        ((0, 0, n, ONES, (0,) * 9, ONES), status)
        for n, status in ((0, BAD), (1, OK), (3, OK), (6, OK), (7, UNSUPPORTED))
    ],
    ("OpTensor", "cudnnSetOpTensorDescriptor"): [
        *[((op, 0, 0), OK if 0 <= op <= 5 else BAD) for op in range(-1, 7)],
        *[((0, 1, 0), OK), ((0, 2, 0), OK), ((0, 4, 0), BAD), ((0, 0, 1), OK), ((0, 0, 2), BAD)],
    ],
    ("ReduceTensor", "cudnnSetReduceTensorDescriptor"): [
        *[((op, 0, 0, 0, 0), OK if 0 <= op <= 8 else BAD) for op in range(-1, 10)],
        *[((0, 2, 0, 0, 0), OK), ((0, 3, 0, 0, 0), BAD), ((0, 0, 2, 0, 0), BAD), ((0, 0, 0, 2, 0), BAD)],
        *[((0, 0, 0, 0, 3), OK), ((0, 0, 0, 0, 4), BAD)],
    ],
}

# Image, filter, and the convolution's padding, stride, dilation and groups; the sizes of the top, or the status.
TOPS = [
    ((2, 3, 7, 8), (4, 3, 3, 2), (0, 0), (1, 1), (1, 1), 1, (2, 4, 5, 7)),
    ((2, 3, 7, 8), (4, 3, 3, 2), (1, 2), (2, 3), (2, 1), 1, (2, 4, 3, 4)),
    ((2, 4, 7, 8), (4, 2, 3, 2), (0, 0), (1, 1), (1, 1), 2, (2, 4, 5, 7)),
    ((2, 4, 7, 8), (5, 2, 3, 2), (0, 0), (1, 1), (1, 1), 2, (2, 5, 5, 7)),
    ((2, 3, 7, 8), (4, 2, 3, 2), (0, 0), (1, 1), (1, 1), 1, BAD),
    ((2, 3, 2, 8), (4, 3, 3, 2), (0, 0), (1, 1), (1, 1), 1, BAD),
    ((2, 3, 7, 8), (4, 3, 3, 2), (0, 0, 0), (1, 1, 1), (1, 1, 1), 1, BAD),
]
# Window, padding and stride of a pooling of (2, 3, 7, 8).
POOLED = [
    ((2, 2), (0, 0), (2, 2), (2, 3, 3, 4)),
    ((3, 3), (1, 1), (2, 2), (2, 3, 4, 4)),
    ((7, 8), (0, 0), (1, 1), (2, 3, 1, 1)),
    ((2, 2), (3, 3), (2, 2), (2, 3, 6, 7)),
    ((9, 2), (0, 0), (2, 2), BAD),
    ((2,), (0,), (2,), BAD),
]


@pytest.fixture(scope="module", params=["the stub", *cuda_search.candidates("cudnn")])
def cudnn(request):
    if request.param == "the stub":
        return request.getfixturevalue("libraries").cudnn
    return ctypes.CDLL(request.param)


def made(cudnn, kind):
    descriptor = ctypes.c_void_p()
    assert getattr(cudnn, f"cudnnCreate{kind}Descriptor")(ctypes.byref(descriptor)) == OK
    return descriptor


def argument(value):
    return ints(value) if isinstance(value, tuple) else ctypes.c_double(value) if isinstance(value, float) else value


@pytest.mark.parametrize("kind, setter", list(STATUSES))
def test_setting_a_descriptor(cudnn, kind, setter):
    descriptor, function = made(cudnn, kind), getattr(cudnn, setter)
    for arguments, status in STATUSES[kind, setter]:
        assert function(descriptor, *map(argument, arguments)) == status, arguments
    arguments = next(arguments for arguments, status in STATUSES[kind, setter] if status == OK)
    assert function(None, *map(argument, arguments)) == BAD
    assert getattr(cudnn, f"cudnnDestroy{kind}Descriptor")(descriptor) == OK
    assert getattr(cudnn, f"cudnnDestroy{kind}Descriptor")(None) == OK
    assert getattr(cudnn, f"cudnnCreate{kind}Descriptor")(None) == BAD


def tensor(cudnn, shape, dtype=0):
    descriptor = made(cudnn, "Tensor")
    assert cudnn.cudnnSetTensor4dDescriptor(descriptor, 0, dtype, *shape) == OK
    return descriptor


@pytest.mark.parametrize("image, weights, padding, stride, dilation, groups, expected", TOPS)
def test_the_size_of_a_top(cudnn, image, weights, padding, stride, dilation, groups, expected):
    convolution, filter_, sizes = made(cudnn, "Convolution"), made(cudnn, "Filter"), (ctypes.c_int * 4)()
    settings = len(stride), ints(padding), ints(stride), ints(dilation), 1, 0
    assert cudnn.cudnnSetConvolutionNdDescriptor(convolution, *settings) == OK
    assert cudnn.cudnnSetConvolutionGroupCount(convolution, groups) == OK
    assert cudnn.cudnnSetFilter4dDescriptor(filter_, 0, 0, *weights) == OK
    status = cudnn.cudnnGetConvolutionNdForwardOutputDim(convolution, tensor(cudnn, image), filter_, 4, sizes)
    assert status == expected if expected == BAD else (status, tuple(sizes)) == (OK, expected)


@pytest.mark.parametrize("window, padding, stride, expected", POOLED)
def test_the_size_of_what_is_pooled(cudnn, window, padding, stride, expected):
    pooling, sizes = made(cudnn, "Pooling"), (ctypes.c_int * 4)()
    settings = 0, 0, len(window), ints(window), ints(padding), ints(stride)
    assert cudnn.cudnnSetPoolingNdDescriptor(pooling, *settings) == OK
    status = cudnn.cudnnGetPoolingNdForwardOutputDim(pooling, tensor(cudnn, (2, 3, 7, 8)), 4, sizes)
    assert status == expected if expected == BAD else (status, tuple(sizes)) == (OK, expected)


@pytest.mark.parametrize("dtype, statistics", [(0, 0), (1, 1), (2, 0)])
@pytest.mark.parametrize("mode, expected", [(0, (1, 3, 7, 8)), (1, (1, 3, 1, 1)), (2, (1, 3, 1, 1)), (3, BAD)])
def test_the_parameters_of_batch_normalisation(cudnn, dtype, statistics, mode, expected):
    derived, numbers, sizes = (
        made(cudnn, "Tensor"),
        [ctypes.c_int() for _ in range(2)],
        [(ctypes.c_int * 4)() for _ in range(2)],
    )
    status = cudnn.cudnnDeriveBNTensorDescriptor(derived, tensor(cudnn, (2, 3, 7, 8), dtype), mode)
    if expected == BAD:
        assert status == BAD
        return
    assert cudnn.cudnnGetTensorNdDescriptor(derived, 4, *map(ctypes.byref, numbers), *sizes) == OK
    packed = (3 * expected[2] * expected[3], expected[2] * expected[3], expected[3], 1)
    assert (status, numbers[0].value, numbers[1].value) == (OK, statistics, 4)
    assert (tuple(sizes[0]), tuple(sizes[1])) == (expected, packed)


def test_defaults(cudnn):
    value, convolution = ctypes.c_int(7), made(cudnn, "Convolution")
    assert cudnn.cudnnGetConvolutionMathType(convolution, ctypes.byref(value)) == OK and value.value == 0
    assert cudnn.cudnnGetConvolutionGroupCount(convolution, ctypes.byref(value)) == OK and value.value == 1
    size = ctypes.c_size_t()
    assert cudnn.cudnnGetTensorSizeInBytes(tensor(cudnn, (2, 3, 7, 8)), ctypes.byref(size)) == OK
    assert size.value == 4 * 2 * 3 * 7 * 8
