"""The stub cuDNN's batch normalisation against numpy in float64, its gradients against finite differences."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cuda_device.calls import SWEEP, channels_last, error, packed, scalar
from tests.cuda_device.formulas import PER_ACTIVATION, PERSISTENT, SPATIAL, gradients, normalized, parameters_of

BAD = 2000
NOTHING = ctypes.c_void_p()
SHAPES = [(4, 3, 2, 5), (1, 2, 3, 3), (6, 1, 1, 1), (3, 2, 2, 2, 3)]
modes = st.sampled_from([PER_ACTIVATION, SPATIAL, PERSISTENT])


def test_the_formula_of_the_gradient_agrees_with_finite_differences(rng):
    x, scale, dy = rng.randn(4, 2, 3, 2), rng.randn(1, 2, 1, 1), rng.randn(4, 2, 3, 2)
    (by_x, *_), step = gradients(x, scale, dy, SPATIAL, 0.1), 1e-6
    for at in ((0, 0, 0, 0), (3, 1, 2, 1)):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[at] += sign * step
            ends.append((normalized(moved, scale, 0, SPATIAL, 0.1)[0] * dy).sum())
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), by_x[at], rtol=1e-5)


def drawn(data, libraries):
    shape, mode = data.draw(st.sampled_from(SHAPES)), data.draw(modes)
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    layouts = [packed, *([channels_last] if len(shape) == 4 else [])]
    strides = [data.draw(st.sampled_from(layouts))(shape) for _ in range(3)]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    make = lambda size: rng.normal(size=size).astype(dtype)  # noqa: E731
    sizes = parameters_of(shape, mode)
    epsilon, alpha, beta = (data.draw(st.sampled_from(values)) for values in ((0.1, 1e-3), (1.0, -0.5), (0.0, 2.0)))
    parameters = libraries.tensor(sizes, dtype=dtype)
    return make, shape, sizes, mode, dtype, strides, epsilon, alpha, beta, parameters


def written(libraries, make, shape, dtype, strides, beta):
    """A result: NaN where nothing of it is read."""
    return libraries.operand(make(shape), strides) if beta else libraries.empty(shape, dtype, strides)


@SWEEP
@given(st.data())
def test_training(libraries, data):
    make, shape, sizes, mode, dtype, strides, epsilon, alpha, beta, parameters = drawn(data, libraries)
    factor = data.draw(st.sampled_from([1.0, 0.1]))
    keeps = data.draw(st.booleans())
    x, scale, bias = libraries.operand(make(shape), strides[0]), *(libraries.operand(make(sizes)) for _ in range(2))
    y = written(libraries, make, shape, dtype, strides[1], beta)
    running = [written(libraries, make, sizes, dtype, None, 1 - factor) for _ in range(2)]
    saved = [libraries.empty(sizes, dtype) for _ in range(2)]
    value, mean, variance = normalized(*(o._view().astype("float64") for o in (x, scale, bias)), mode, epsilon)
    count = x.buffer.size / scale.buffer.size
    moved = [mean, variance * (count / (count - 1) if count > 1 else 1)]
    expected = [alpha * value + (beta * y._view() if beta else 0)]
    expected += [
        f * factor + (before._view() * (1 - factor) if factor < 1 else 0)
        for f, before in zip(moved, running, strict=True)
    ]
    kept = [o.pointer if keeps else NOTHING for o in (*running, *saved)]
    libraries.dnn_call(
        *("cudnnBatchNormalizationForwardTraining", mode, scalar(alpha, dtype), scalar(beta, dtype)),
        *(libraries.tensor(shape, strides[0], dtype), x.pointer, libraries.tensor(shape, strides[1], dtype), y.pointer),
        *(parameters, scale.pointer, bias.pointer, ctypes.c_double(factor), *kept[:2], ctypes.c_double(epsilon)),
        *kept[2:],
    )
    tolerance = 2e-6 if dtype == "float32" else 1e-13
    assert error(y.read(), expected[0]) < tolerance
    if keeps:
        expected += [mean, 1 / np.sqrt(variance + epsilon)]
        for got, wanted in zip((*running, *saved), expected[1:], strict=True):
            assert error(got.read(), wanted) < tolerance


@SWEEP
@given(st.data())
def test_inference(libraries, data):
    make, shape, sizes, mode, dtype, strides, epsilon, alpha, beta, parameters = drawn(data, libraries)
    x, scale, bias, mean = (
        libraries.operand(make(shape), strides[0]),
        *(libraries.operand(make(sizes)) for _ in range(3)),
    )
    variance = libraries.operand(abs(make(sizes)))
    y = written(libraries, make, shape, dtype, strides[1], beta)
    values = [o._view().astype("float64") for o in (x, scale, bias, mean, variance)]
    normal = (values[0] - values[3]) / np.sqrt(values[4] + epsilon)
    expected = alpha * (values[1] * normal + values[2]) + (beta * y._view() if beta else 0)
    libraries.dnn_call(
        *("cudnnBatchNormalizationForwardInference", mode, scalar(alpha, dtype), scalar(beta, dtype)),
        *(libraries.tensor(shape, strides[0], dtype), x.pointer, libraries.tensor(shape, strides[1], dtype), y.pointer),
        *(parameters, scale.pointer, bias.pointer, mean.pointer, variance.pointer, ctypes.c_double(epsilon)),
    )
    assert error(y.read(), expected) < (2e-6 if dtype == "float32" else 1e-13)


@SWEEP
@given(st.data())
def test_gradients(libraries, data):
    make, shape, sizes, mode, dtype, strides, epsilon, alpha, beta, parameters = drawn(data, libraries)
    x, dy, scale = (
        libraries.operand(make(shape), strides[0]),
        libraries.operand(make(shape), strides[1]),
        libraries.operand(make(sizes)),
    )
    dx = written(libraries, make, shape, dtype, strides[2], beta)
    by_parameters = [written(libraries, make, sizes, dtype, None, beta) for _ in range(2)]
    values = [o._view().astype("float64") for o in (x, scale, dy)]
    expected = [
        alpha * value + (beta * o._view() if beta else 0)
        for value, o in zip(gradients(*values, mode, epsilon), (dx, *by_parameters), strict=True)
    ]
    saved = [NOTHING, NOTHING]
    if data.draw(st.booleans()):
        _, mean, variance = normalized(values[0], 1, 0, mode, epsilon)
        kept = (mean, 1 / np.sqrt(variance + epsilon))
        saved = [libraries.operand(value.astype(dtype)).pointer for value in kept]
    factors = scalar(alpha, dtype), scalar(beta, dtype)
    descriptors = [libraries.tensor(shape, one, dtype) for one in strides]
    libraries.dnn_call(
        *("cudnnBatchNormalizationBackward", mode, *factors, *factors, descriptors[0], x.pointer, descriptors[1]),
        *(dy.pointer, descriptors[2], dx.pointer, parameters, scale.pointer, by_parameters[0].pointer),
        *(by_parameters[1].pointer, ctypes.c_double(epsilon), *saved),
    )
    for got, wanted in zip((dx, *by_parameters), expected, strict=True):
        difference = np.abs(got.read() - wanted).max()  # a gradient may vanish
        assert difference < (1e-4 if dtype == "float32" else 1e-11)


def training(libraries, **changed):
    """The status of a call in which something is changed."""
    shape, mode = (2, 3, 4, 4), changed.pop("mode", SPATIAL)
    data = libraries.empty((2, 3, 4, 4)).pointer
    given = dict(
        x=changed.pop("x_desc", None) or libraries.tensor(shape),
        y=libraries.tensor(shape),
        parameters=libraries.tensor(parameters_of(shape, SPATIAL)),
        epsilon=1e-5,
        data=data,
        scale=data,
        running=data,
        running_variance=data,
        saved=data,
        inverse=data,
    )
    given.update(changed)
    return libraries.dnn_status(
        *("cudnnBatchNormalizationForwardTraining", mode, scalar(1), scalar(0), given["x"], given["data"], given["y"]),
        *(data, given["parameters"], given["scale"], data, ctypes.c_double(1), given["running"]),
        *(given["running_variance"], ctypes.c_double(given["epsilon"]), given["saved"], given["inverse"]),
    )


def test_training_refuses(libraries):
    tensor = libraries.tensor
    shape = (2, 3, 4, 4)
    for wrong in (
        *[dict(epsilon=-1e-9), dict(mode=3), dict(saved=NOTHING), dict(inverse=NOTHING), dict(running=NOTHING)],
        *[
            dict(data=NOTHING),
            dict(scale=NOTHING),
            dict(y=tensor((2, 3, 4, 3))),
            dict(y=tensor(shape, dtype="float64")),
        ],
        *[dict(parameters=tensor((1, 3, 4, 4))), dict(parameters=tensor((1, 3, 1, 1), dtype="float64"))],
        *[dict(parameters=tensor((1, 3, 1, 1), (6, 2, 2, 2))), dict(mode=PER_ACTIVATION)],
        *[dict(x=tensor((2, 3, 4)), y=tensor((2, 3, 4)), parameters=tensor((1, 3, 1)))],
        *[dict(x=tensor(shape, (48, 16, 4, -1)))],
    ):
        assert training(libraries, **wrong) == BAD, wrong


@pytest.mark.parametrize("dtype, statistics", [("float32", 0), ("float64", 1), ("float16", 0)])
def test_parameters_have_a_tensor_of_their_own(libraries, dtype, statistics):
    x, derived = libraries.tensor((2, 3, 4, 5), dtype=dtype), libraries.descriptor("Tensor")
    type_, n, dims, strides = ctypes.c_int(), ctypes.c_int(), (ctypes.c_int * 8)(), (ctypes.c_int * 8)()
    for mode, expected in ((PER_ACTIVATION, (1, 3, 4, 5)), (SPATIAL, (1, 3, 1, 1)), (PERSISTENT, (1, 3, 1, 1))):
        assert libraries.cudnn.cudnnDeriveBNTensorDescriptor(derived, x, mode) == 0
        libraries.cudnn.cudnnGetTensorNdDescriptor(derived, 8, ctypes.byref(type_), ctypes.byref(n), dims, strides)
        assert (type_.value, tuple(dims[: n.value]), tuple(strides[: n.value])) == (
            statistics,
            expected,
            packed(expected),
        )
    assert libraries.cudnn.cudnnDeriveBNTensorDescriptor(derived, x, 3) == BAD
