"""The stub cuDNN's pooling against numpy in float64: windows, strides, padding, ties, NaN."""

import ctypes

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.cuda_device.calls import SWEEP, channels_last, error, packed, scalar
from tests.cuda_device.formulas import INCLUDING, MAX, out_size, pooled

BAD, UNSUPPORTED = 2000, 3000
NOTHING = ctypes.c_void_p()


def pooling(libraries, mode=MAX, window=(2, 2), padding=(0, 0), stride=(2, 2), nan=0):
    settings = mode, nan, *window, *padding, *stride
    return libraries.descriptor("Pooling", *settings, setter="cudnnSetPooling2dDescriptor")


@SWEEP
@given(st.data())
def test_pooling_and_its_gradient(libraries, data):
    mode, dtype = data.draw(st.sampled_from(range(4))), data.draw(st.sampled_from(["float32", "float64"]))
    window, stride, size = (tuple(data.draw(st.integers(1, most)) for _ in range(2)) for most in (3, 3, 7))
    padding = tuple(data.draw(st.integers(0, w - 1)) for w in window)
    assume(all(n + 2 * p >= w for n, p, w in zip(size, padding, window, strict=True)))
    alpha, beta = data.draw(st.sampled_from([1.0, -0.5])), data.draw(st.sampled_from([0.0, 2.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = rng.integers(0, 4, (2, 3, *size)).astype(dtype)  # many ties
    top = rng.normal(size=(2, 3, *out_size(size, window, padding, stride))).astype(dtype)
    layout = data.draw(st.sampled_from([packed, channels_last]))
    expected = [alpha * value for value in pooled(image.astype("float64"), top, mode, window, padding, stride)]
    x, y, dy, dx = (libraries.operand(value, layout(value.shape)) for value in (image, top, top, image))
    if beta == 0:
        y, dx = (libraries.empty(o.shape, dtype, o.strides) for o in (y, dx))
    else:
        expected = [value + beta * o._view() for value, o in zip(expected, (y, dx), strict=True)]
    descriptor = pooling(libraries, mode, window, padding, stride)
    small, large = libraries.tensor(y.shape, y.strides, dtype), libraries.tensor(x.shape, x.strides, dtype)
    factors = scalar(alpha, dtype), scalar(beta, dtype)
    libraries.dnn_call("cudnnPoolingForward", descriptor, factors[0], large, x.pointer, factors[1], small, y.pointer)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    assert error(y.read(), expected[0]) < tolerance
    libraries.dnn_call(
        *("cudnnPoolingBackward", descriptor, factors[0], small, y.pointer, small, dy.pointer, large, x.pointer),
        *(factors[1], large, dx.pointer),
    )
    assert error(dx.read(), expected[1]) < tolerance


@pytest.mark.parametrize("nan, expected", [(0, [[1, 3]]), (1, [[np.nan, 3]])])
def test_nan_in_a_maximum(libraries, nan, expected):
    x, y = libraries.operand(np.array([[[[np.nan, 1, 2, 3]]]], "float32")), libraries.empty((1, 1, 1, 2))
    descriptor = pooling(libraries, window=(1, 2), stride=(1, 2), nan=nan)
    tensors = libraries.tensor(x.shape), libraries.tensor(y.shape)
    libraries.dnn_call(
        "cudnnPoolingForward", descriptor, scalar(1), tensors[0], x.pointer, scalar(0), tensors[1], y.pointer
    )
    np.testing.assert_array_equal(y.read()[0, 0], expected)


def test_pooling_refuses(libraries):
    shape, out = (2, 3, 6, 6), (2, 3, 3, 3)
    tensor, x, y = libraries.tensor, libraries.empty(shape).pointer, libraries.empty(out).pointer

    def forward(descriptor, x_descriptor, y_descriptor, data=x):
        return libraries.dnn_status(
            "cudnnPoolingForward", descriptor, scalar(1), x_descriptor, data, scalar(0), y_descriptor, y
        )

    plain = pooling(libraries)
    assert forward(plain, tensor(shape), tensor(out)) == 0
    for wrong in ((2, 3, 3, 2), (1, 3, 3, 3), (2, 4, 3, 3)):
        assert forward(plain, tensor(shape), tensor(wrong)) == BAD
    assert forward(plain, tensor(shape), tensor(out, dtype="float64")) == BAD
    assert forward(plain, tensor(shape), tensor(out), NOTHING) == BAD
    assert forward(pooling(libraries, window=(7, 7)), tensor(shape), tensor((2, 3, 1, 1))) == BAD
    assert forward(pooling(libraries, padding=(2, 2)), tensor(shape), tensor((2, 3, 5, 5))) == UNSUPPORTED

    def backward(small, dy, large, dx, mode=MAX, data=y):
        return libraries.dnn_status(
            *(
                "cudnnPoolingBackward",
                pooling(libraries, mode),
                scalar(1),
                small,
                data,
                dy,
                y,
                large,
                x,
                scalar(0),
                dx,
                x,
            )
        )

    small, large = tensor(out), tensor(shape)
    assert backward(small, small, large, large, INCLUDING, NOTHING) == 0
    assert backward(small, small, large, large, MAX, NOTHING) == BAD
    assert backward(small, tensor(out, channels_last(out)), large, large) == BAD
    assert backward(small, small, large, tensor(shape, channels_last(shape))) == BAD
