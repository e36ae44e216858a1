"""The stub cuDNN's activations, sums of tensors, copies and reductions against numpy in float64."""

import ctypes

import numpy as np
import pytest

from tests.cuda_device.calls import channels_last, error, packed, scalar

BAD, UNSUPPORTED = 2000, 3000
SHAPE = (2, 3, 4, 5)
NOTHING = ctypes.c_void_p()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# cuDNN's number of the mode, the function, its derivative: of clipped ReLU with the ceiling and ELU with the factor 0.7
ACTIVATIONS = {
    "sigmoid": (0, sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "relu": (1, lambda x: np.maximum(x, 0), lambda x: x > 0),
    "tanh": (2, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "clipped relu": (3, lambda x: np.clip(x, 0, 0.7), lambda x: (x > 0) & (x < 0.7)),
    "elu": (4, lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)), lambda x: np.where(x > 0, 1, 0.7 * np.exp(x))),
    "swish": (6, lambda x: x * sigmoid(2 * x), lambda x: sigmoid(2 * x) * (1 + 2 * x * (1 - sigmoid(2 * x)))),
}
IDENTITY = 5


def activation(libraries, mode, nan=0):
    made = libraries.descriptor("Activation", mode, nan, ctypes.c_double(0.7))
    assert libraries.cudnn.cudnnSetActivationDescriptorSwishBeta(made, ctypes.c_double(2)) == 0
    return made


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_and_their_gradients(libraries, rng, name):
    mode, function, derivative = ACTIVATIONS[name]
    for dtype, layout, alpha, beta in (("float32", channels_last, 1, 0), ("float64", packed, -0.5, 2)):
        strides, descriptor = layout(SHAPE), activation(libraries, mode)
        tensor = libraries.tensor(SHAPE, strides, dtype)
        x, y, dy, dx = (libraries.operand(rng.randn(*SHAPE).astype(dtype), strides) for _ in range(4))
        values = [o.read().astype("float64") for o in (x, y, dy, dx)]
        arguments = descriptor, scalar(alpha, dtype), tensor, x.pointer, scalar(beta, dtype), tensor, y.pointer
        libraries.dnn_call("cudnnActivationForward", *arguments)
        tolerance = 1e-6 if dtype == "float32" else 1e-13
        assert error(y.read(), alpha * function(values[0]) + beta * values[1]) < tolerance
        at = libraries.operand(function(values[0]).astype(dtype), strides)
        by_value = name in ("sigmoid", "tanh", "elu")
        operands = (at.pointer, NOTHING) if by_value else (NOTHING, x.pointer)
        libraries.dnn_call(
            *("cudnnActivationBackward", descriptor, scalar(alpha, dtype), tensor, operands[0], tensor, dy.pointer),
            *(tensor, operands[1], scalar(beta, dtype), tensor, dx.pointer),
        )
        expected = alpha * derivative(values[0]) * values[2] + beta * values[3]
        assert error(dx.read(), expected) < tolerance


@pytest.mark.parametrize("nan, expected", [(0, 0.0), (1, np.nan)])
def test_a_relu_of_nan(libraries, nan, expected):
    x = libraries.operand(np.array([[[np.nan, -1, 2]]], "float32"))
    tensor = libraries.tensor(x.shape)
    arguments = activation(libraries, 1, nan), scalar(1), tensor, x.pointer, scalar(0), tensor, x.pointer
    libraries.dnn_call("cudnnActivationForward", *arguments)  # in place
    np.testing.assert_array_equal(x.read().ravel(), [expected, 0, 2])


def test_activations_refuse(libraries):
    x, y = libraries.empty(SHAPE).pointer, libraries.empty(SHAPE).pointer
    plain, other = libraries.tensor(SHAPE), libraries.tensor(SHAPE, channels_last(SHAPE))

    def forward(mode=1, a=plain, from_=x, b=plain, to=y):
        return libraries.dnn_status(
            "cudnnActivationForward", activation(libraries, mode), scalar(1), a, from_, scalar(0), b, to
        )

    assert forward(b=other) == 0
    assert forward(mode=IDENTITY) == BAD and forward(from_=NOTHING) == BAD and forward(b=other, to=x) == BAD
    assert forward(b=libraries.tensor((2, 3, 5, 4))) == BAD
    assert forward(b=libraries.tensor(SHAPE, dtype="float64")) == BAD
    assert forward(a=libraries.tensor((2, 60)), b=libraries.tensor((2, 60))) == BAD

    def backward(mode, value, from_, dx=plain):
        return libraries.dnn_status(
            *("cudnnActivationBackward", activation(libraries, mode), scalar(1), plain, value, plain, x, plain, from_),
            *(scalar(0), dx, y),
        )

    assert backward(IDENTITY, x, x) == BAD
    for name, (mode, *_) in ACTIVATIONS.items():
        needs_value = name in ("sigmoid", "tanh", "elu")
        assert backward(mode, NOTHING, x) == (BAD if needs_value else 0)
        assert backward(mode, x, NOTHING) == (0 if needs_value else BAD)
    assert backward(1, x, x, other) == UNSUPPORTED


OPERATIONS = {
    "add": (0, np.add), "mul": (1, np.multiply), "min": (2, np.minimum), "max": (3, np.maximum),
    "sqrt": (4, lambda a, b: np.sqrt(a)), "not": (5, lambda a, b: 1 - a),
}  # fmt: skip


@pytest.mark.parametrize("name", list(OPERATIONS))
@pytest.mark.parametrize("shape_of_b", [SHAPE, (1, 3, 1, 1), (1, 1, 1, 5), (2, 1, 4, 1)])
def test_operations_of_two_tensors(libraries, rng, name, shape_of_b):
    number, function = OPERATIONS[name]
    descriptor = libraries.descriptor("OpTensor", number, 0, 0)
    a, b = (
        libraries.operand(abs(rng.randn(*SHAPE)).astype("float32")),
        libraries.operand(rng.randn(*shape_of_b).astype("float32")),
    )
    c = libraries.operand(rng.randn(*SHAPE).astype("float32"), channels_last(SHAPE))
    expected = function(0.5 * a.read().astype("float64"), -2 * b.read().astype("float64")) + 3 * c.read()
    libraries.dnn_call(
        *("cudnnOpTensor", descriptor, scalar(0.5), libraries.tensor(SHAPE), a.pointer, scalar(-2)),
        *(libraries.tensor(shape_of_b), b.pointer, scalar(3), libraries.tensor(SHAPE, c.strides), c.pointer),
    )
    assert error(c.read(), expected) < 1e-6


def test_operations_of_two_tensors_refuse(libraries):
    data, plain, tensor = libraries.empty(SHAPE).pointer, libraries.tensor(SHAPE), libraries.tensor

    def status(a=plain, b=plain, c=plain, number=0, type_=0, from_b=data):
        descriptor = libraries.descriptor("OpTensor", number, type_, 0)
        return libraries.dnn_status(
            "cudnnOpTensor", descriptor, scalar(1), a, data, scalar(1), b, from_b, scalar(0), c, data
        )

    assert status() == 0
    for wrong in (
        *[dict(a=tensor((1, 3, 1, 1))), dict(c=tensor((1, 3, 1, 1))), dict(b=tensor((1, 2, 1, 1)))],
        *[dict(b=tensor((2, 60))), dict(b=tensor(SHAPE, dtype="float64")), dict(from_b=NOTHING)],
        dict(number=4, b=None),
    ):
        assert status(**wrong) == BAD, wrong
    assert status(type_=1) == UNSUPPORTED


def test_one_tensor_added_to_another_copied_set_and_scaled(libraries, rng):
    b, x = (libraries.operand(rng.randn(*shape).astype("float32")) for shape in ((1, 3, 1, 1), SHAPE))
    c = libraries.operand(rng.randn(*SHAPE).astype("float32"), channels_last(SHAPE))
    to = libraries.tensor(SHAPE, c.strides)
    expected = 2 * b.read().astype("float64") - c.read()
    arguments = scalar(2), libraries.tensor(b.shape), b.pointer, scalar(-1), to, c.pointer
    libraries.dnn_call("cudnnAddTensor", *arguments)
    assert error(c.read(), expected) < 1e-6
    expected = x.read() + 0.5 * c.read().astype("float64")
    arguments = scalar(1), libraries.tensor(SHAPE), x.pointer, scalar(0.5), to, c.pointer
    libraries.dnn_call("cudnnTransformTensor", *arguments)
    assert error(c.read(), expected) < 1e-6
    libraries.dnn_call("cudnnScaleTensor", to, c.pointer, scalar(4))
    assert error(c.read(), 4 * expected) < 1e-6
    libraries.dnn_call("cudnnSetTensor", to, c.pointer, scalar(3))
    np.testing.assert_array_equal(c.read(), 3)
    assert libraries.dnn_status("cudnnSetTensor", to, NOTHING, scalar(3)) == BAD
    smaller = libraries.tensor((2, 3, 4, 4))
    assert libraries.dnn_status("cudnnTransformTensor", scalar(1), smaller, x.pointer, scalar(0), to, c.pointer) == BAD
    wrong = libraries.tensor((1, 2, 1, 1))
    assert libraries.dnn_status("cudnnAddTensor", scalar(1), wrong, b.pointer, scalar(1), to, c.pointer) == BAD


REDUCTIONS = {
    "add": (0, np.sum), "mul": (1, np.prod), "min": (2, np.min), "max": (3, np.max), "avg": (5, np.mean),
    "amax": (4, lambda a, axes, keepdims: np.abs(a).max(axes, keepdims=True)),
    "norm1": (6, lambda a, axes, keepdims: np.abs(a).sum(axes, keepdims=True)),
    "norm2": (7, lambda a, axes, keepdims: np.sqrt((a**2).sum(axes, keepdims=True))),
    "mul without zeros": (8, lambda a, axes, keepdims: np.where(a == 0, 1, a).prod(axes, keepdims=True)),
}  # fmt: skip


def reduction(libraries, rng, number, to, indices=None, size=4096, values=None):
    r = libraries.descriptor("ReduceTensor", number, 0, 0, int(indices is not None), 0)
    values = rng.randint(-2, 3, SHAPE).astype("float32") / 2 if values is None else values
    a, workspace = libraries.operand(values, channels_last(SHAPE)), libraries.empty((1024,))
    c = libraries.operand(np.ones(to, "float32"))
    bytes_ = ctypes.c_size_t(0 if indices is None else indices.buffer.nbytes)
    status = libraries.dnn_status(
        *("cudnnReduceTensor", r, NOTHING if indices is None else indices.pointer, bytes_, workspace.pointer),
        *(ctypes.c_size_t(size), scalar(2), libraries.tensor(SHAPE, a.strides), a.pointer, scalar(-1)),
        *(libraries.tensor(to), c.pointer),
    )
    return status, values.astype("float64"), c


@pytest.mark.parametrize("name", list(REDUCTIONS))
def test_reductions(libraries, rng, name):
    number, function = REDUCTIONS[name]
    for to in ((1, 3, 1, 1), (1, 1, 1, 1), (2, 3, 1, 5)):
        axes = tuple(i for i in range(4) if to[i] == 1 and SHAPE[i] > 1)
        status, values, c = reduction(libraries, rng, number, to)
        assert status == 0
        assert error(c.read(), 2 * function(values, axes, keepdims=True) - 1) < 1e-6


def test_a_maximum_and_its_place(libraries, rng):
    values = rng.randn(*SHAPE).astype("float32")
    indices = libraries.operand(np.zeros(3, "uint32"))
    status, _, c = reduction(libraries, rng, 3, (1, 3, 1, 1), indices, values=values)
    by_channel = np.moveaxis(values, 1, 0).reshape(3, -1)
    assert status == 0
    np.testing.assert_allclose(c.read().ravel(), 2 * by_channel.max(1) - 1, rtol=1e-6)
    np.testing.assert_array_equal(indices.read(), by_channel.argmax(1))


def test_reductions_refuse(libraries, rng):
    for to in (SHAPE, (1, 2, 1, 1), (2, 60)):
        assert reduction(libraries, rng, 0, to)[0] == BAD
    assert reduction(libraries, rng, 0, (1, 3, 1, 1), size=4095)[0] == BAD
    assert reduction(libraries, rng, 3, (1, 3, 1, 1), libraries.operand(np.zeros(2, "uint32")))[0] == BAD
