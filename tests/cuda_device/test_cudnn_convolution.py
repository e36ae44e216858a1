"""The stub cuDNN's convolutions against numpy in float64: geometries, strides, factors, math types, workspace."""

import ctypes
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cuda_device.calls import SWEEP, channels_last, error, packed, scalar, tf32

BAD, UNSUPPORTED = 2000, 3000
DEFAULT_MATH, TENSOR_OP, CONVERSION, FMA = range(4)
NOTHING, NO_BYTES = ctypes.c_void_p(), ctypes.c_size_t(0)
LAYOUTS = {
    "rows": packed,
    "channels last": channels_last,
    "every second": lambda shape: tuple(2 * stride for stride in packed(shape)),
}


class Geometry:
    """A convolution of random sizes, and what numpy makes of it."""

    def __init__(self, draw):
        pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
        self.groups, self.flip = pick(1, 1, 2), pick(True, False)
        self.n, self.channels, self.filters = pick(1, 3), pick(1, 2, 3), pick(1, 2, 9)
        self.kernel, self.stride = (pick(1, 2, 3), pick(1, 3)), (pick(1, 2), pick(1, 3))
        self.padding, self.dilation = (pick(0, 1, 2), pick(0, 1)), (pick(1, 2), pick(1, 2))
        span = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        self.size = tuple(pick(0, 1, 4) + s for s in span)
        self.out = tuple(
            1 + (n + 2 * p - s) // t for n, p, s, t in zip(self.size, self.padding, span, self.stride, strict=True)
        )
        self.image = (self.n, self.groups * self.channels, *self.size)
        self.weights = (self.groups * self.filters, self.channels, *self.kernel)
        self.top = (self.n, self.groups * self.filters, *self.out)

    def settings(self):
        names = ("stride", "padding", "dilation", "groups", "flip")
        return {name: getattr(self, name) for name in names}

    def taps(self, image):
        """For each place of the kernel: its index in the weights, and what the top sees of the padded image there."""
        for r, s in itertools.product(*map(range, self.kernel)):
            at = (self.kernel[0] - 1 - r, self.kernel[1] - 1 - s) if self.flip else (r, s)
            rows, columns = (
                slice(k * d, k * d + (o - 1) * t + 1, t)
                for k, d, o, t in zip((r, s), self.dilation, self.out, self.stride, strict=True)
            )
            yield at, image[:, :, rows, columns]

    def padded(self, image):
        return np.pad(image, ((0, 0), (0, 0), *((p, p) for p in self.padding)))

    def results(self, image, weights, top):
        """The top by image and weights, the image by weights and top, the weights by image and top."""
        by_image, by_weights = self.padded(np.zeros(self.image)), np.zeros(self.weights)
        by_top, padded = np.zeros(self.top), self.padded(image.astype("float64"))
        taps = zip(self.taps(padded), self.taps(by_image), strict=True)
        for ((r, s), seen), (_, given_back) in taps:
            for g in range(self.groups):
                c = slice(g * self.channels, (g + 1) * self.channels)
                o = slice(g * self.filters, (g + 1) * self.filters)
                one = weights[o, :, r, s].astype("float64")
                by_top[:, o] += np.einsum("nchw,oc->nohw", seen[:, c], one)
                given_back[:, c] += np.einsum("nohw,oc->nchw", top[:, o], one)
                by_weights[o, :, r, s] += np.einsum("nohw,nchw->oc", top[:, o], seen[:, c])
        (ph, pw), (h, w) = self.padding, self.size
        return by_top, by_image[:, :, ph : ph + h, pw : pw + w], by_weights


def plain(**changed):
    """A geometry of chosen sizes: 3x3 kernels."""
    made = Geometry(lambda strategy: 1)
    made.__dict__.update(
        dict(groups=1, flip=False, n=2, channels=3, filters=4, kernel=(3, 3), stride=(1, 1), padding=(0, 0)),
        dilation=(1, 1),
        size=(6, 6),
        out=(4, 4),
        image=(2, 3, 6, 6),
        weights=(4, 3, 3, 3),
        top=(2, 4, 4, 4),
    )
    made.__dict__.update(changed)
    return made


def run(libraries, g, which, operands, result, alpha=1, beta=0, algorithm=0, math=FMA, **settings):
    """One of the three calls: `operands` the two that are read in cuDNN's order, `result` the one that is written."""
    name, dtype = ("Forward", "BackwardData", "BackwardFilter")[which], str(result.dtype)
    shapes = (g.image, g.weights, g.top), (g.weights, g.top, g.image), (g.image, g.top, g.weights)
    descriptors = [
        libraries.tensor(shape, operand.strides, dtype)
        for shape, operand in zip(shapes[which], (*operands, result), strict=True)
    ]
    descriptors[(1, 0, 2)[which]] = libraries.filter(g.weights, dtype)
    convolution = libraries.convolution(math=math, dtype=dtype, **{**g.settings(), **settings})
    workspace = libraries.empty((1024,)) if algorithm == 1 else None
    return libraries.dnn_status(
        f"cudnnConvolution{name}",
        *(scalar(alpha, dtype), descriptors[0], operands[0].pointer, descriptors[1], operands[1].pointer, convolution),
        *(algorithm, workspace.pointer if workspace else NOTHING, ctypes.c_size_t(4096 if workspace else 0)),
        *(scalar(beta, dtype), descriptors[2], result.pointer),
    )


@SWEEP
@given(st.data())
def test_the_three_directions(libraries, data):
    g, rng = Geometry(data.draw), np.random.default_rng(data.draw(st.integers(0, 99)))
    dtype, algorithm = data.draw(st.sampled_from(["float32", "float64"])), data.draw(st.sampled_from([0, 1]))
    alpha, beta = data.draw(st.sampled_from([1.0, -0.5])), data.draw(st.sampled_from([0.0, 1.0, 0.25]))
    image, weights, top = (rng.normal(size=shape).astype(dtype) for shape in (g.image, g.weights, g.top))
    layout = LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))]
    x, w, y = (
        libraries.operand(value, layout(value.shape) if value is not weights else None)
        for value in (image, weights, top)
    )
    expected = g.results(image, weights, top)
    for which, operands, out in ((0, (x, w), y), (1, (w, y), x), (2, (x, y), w)):
        result = (
            libraries.empty(out.shape, dtype, out.strides) if beta == 0 else libraries.operand(out._view(), out.strides)
        )
        assert run(libraries, g, which, operands, result, alpha, beta, algorithm) == 0
        wanted = alpha * expected[which] + beta * out._view()
        assert error(result.read(), wanted) < (1e-6 if dtype == "float32" else 1e-14)


def test_filters_whose_channels_come_last(libraries, rng):
    g = plain()
    image, weights = rng.randn(*g.image).astype("float32"), rng.randn(*g.weights).astype("float32")
    x, w, y = libraries.operand(image), libraries.operand(weights, channels_last(g.weights)), libraries.empty(g.top)
    filter_ = libraries.filter(g.weights, channels_last=True)
    libraries.dnn_call(
        *("cudnnConvolutionForward", scalar(1), libraries.tensor(g.image), x.pointer, filter_, w.pointer),
        *(libraries.convolution(), 0, NOTHING, NO_BYTES, scalar(0), libraries.tensor(g.top), y.pointer),
    )
    assert error(y.read(), g.results(image, weights, np.zeros(g.top))[0]) < 1e-6


def test_math_types_are_told_apart_by_numbers(libraries, rng):
    g = plain()
    values = [rng.randn(*shape).astype("float32") for shape in (g.image, g.weights, g.top)]
    x, w, y = map(libraries.operand, values)
    exact, rounded = g.results(*values), g.results(*map(tf32, values))
    for which, operands, out in ((0, (x, w), y), (1, (w, y), x), (2, (x, y), w)):
        got = {}
        for math in (DEFAULT_MATH, TENSOR_OP, CONVERSION, FMA):
            result = libraries.empty(out.shape)
            assert run(libraries, g, which, operands, result, math=math) == 0
            got[math] = result.read()
        assert error(got[FMA], exact[which]) < 1e-7
        for math in (DEFAULT_MATH, TENSOR_OP, CONVERSION):
            assert 1e-4 < error(got[math], exact[which]) < 1e-3
        for math in (DEFAULT_MATH, TENSOR_OP):
            assert error(got[math], rounded[which]) < 1e-7


def test_no_tf32_where_the_override_forbids_it(libraries, rng, monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    g = plain()
    values = [rng.randn(*shape).astype("float32") for shape in (g.image, g.weights)]
    x, w, result = *map(libraries.operand, values), libraries.empty(g.top)
    usual, libraries.dnn = libraries.dnn, ctypes.c_void_p()
    assert not libraries.cudnn.cudnnCreate(ctypes.byref(libraries.dnn))
    try:
        assert run(libraries, g, 0, (x, w), result, math=DEFAULT_MATH) == 0
    finally:
        assert not libraries.cudnn.cudnnDestroy(libraries.dnn)
        libraries.dnn = usual
    assert error(result.read(), g.results(*values, np.zeros(g.top))[0]) < 1e-7


def fused(libraries, g, operands, result, mode=1, algorithm=1, beta=0.0, bias_shape=None, nan=0):
    x, w, z, b = operands
    activation = libraries.descriptor("Activation", mode, nan, ctypes.c_double(0))
    workspace = libraries.empty((1024,))
    return libraries.dnn_status(
        *("cudnnConvolutionBiasActivationForward", scalar(1), libraries.tensor(g.image), x.pointer),
        *(libraries.filter(g.weights), w.pointer, libraries.convolution(), algorithm, workspace.pointer),
        *(ctypes.c_size_t(4096), scalar(beta), libraries.tensor(g.top), z.pointer),
        *(libraries.tensor(bias_shape or (1, g.top[1], 1, 1)), b.pointer, activation),
        *(libraries.tensor(g.top), result.pointer),
    )


RELU, IDENTITY = 1, 5


@pytest.mark.parametrize("mode, beta", [(RELU, 0.0), (RELU, 0.5), (IDENTITY, 0.0), (IDENTITY, 1.0)])
def test_bias_and_activation(libraries, rng, mode, beta):
    g = plain()
    values = [rng.randn(*shape).astype("float32") for shape in (g.image, g.weights, g.top, (g.top[1],))]
    operands, result = [libraries.operand(value) for value in values], libraries.empty(g.top)
    image, weights, addend, bias = values
    assert fused(libraries, g, operands, result, mode, beta=beta) == 0
    expected = g.results(image, weights, addend)[0] + bias[:, None, None] + beta * addend.astype("float64")
    assert error(result.read(), np.maximum(expected, 0) if mode == RELU else expected) < 1e-6


@pytest.mark.parametrize("nan, kept", [(0, 0.0), (1, np.nan)])
def test_a_relu_loses_nan_unless_it_is_to_propagate(libraries, nan, kept):
    g = plain()
    operands = [libraries.operand(np.zeros(shape, "float32")) for shape in (g.image, g.weights, g.top)]
    bias, result = libraries.operand(np.array([np.nan, 1, 1, 1], "float32")), libraries.empty(g.top)
    assert fused(libraries, g, [*operands, bias], result, nan=nan) == 0
    np.testing.assert_array_equal(result.read()[0, :, 0, 0], [kept, 1, 1, 1])


def test_the_fused_call_refuses(libraries, rng):
    g = plain()
    shapes = (g.image, g.weights, g.top, (g.top[1],))
    operands = [libraries.operand(np.zeros(shape, "float32")) for shape in shapes]
    result = libraries.empty(g.top)
    assert fused(libraries, g, operands, result, mode=IDENTITY, algorithm=0) == UNSUPPORTED
    assert fused(libraries, g, operands, result, mode=0) == UNSUPPORTED
    assert fused(libraries, g, operands, result, bias_shape=(1, 3, 1, 1)) == BAD


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_gradient_of_the_bias(libraries, rng, layout):
    top = rng.randn(3, 4, 5, 6).astype("float32")
    y = libraries.operand(top, LAYOUTS[layout](top.shape))
    b = libraries.operand(rng.randn(1, 4, 1, 1).astype("float32"))
    expected = 0.5 * top.sum((0, 2, 3), "float64") + 2 * b.read().ravel()
    descriptors = libraries.tensor(top.shape, y.strides), libraries.tensor((1, 4, 1, 1))
    arguments = scalar(0.5), descriptors[0], y.pointer, scalar(2), descriptors[1], b.pointer
    libraries.dnn_call("cudnnConvolutionBackwardBias", *arguments)
    assert error(b.read().ravel(), expected) < 1e-6


class Found(ctypes.Structure):
    _fields_ = [
        *[("algorithm", ctypes.c_int), ("status", ctypes.c_int), ("time", ctypes.c_float), ("memory", ctypes.c_size_t)],
        *[("determinism", ctypes.c_int), ("math", ctypes.c_int), ("reserved", ctypes.c_int * 3)],
    ]


def test_a_search_overwrites_its_result(libraries, rng):
    g, found, n = plain(), (Found * 4)(), ctypes.c_int()
    x, w = (libraries.operand(rng.randn(*shape).astype("float32")) for shape in (g.image, g.weights))
    y, workspace = libraries.operand(np.ones(g.top, "float32")), libraries.empty((1024,))
    descriptors = libraries.tensor(g.image), libraries.filter(g.weights), libraries.tensor(g.top)
    libraries.dnn_call(
        *("cudnnFindConvolutionForwardAlgorithmEx", descriptors[0], x.pointer, descriptors[1], w.pointer),
        *(libraries.convolution(), descriptors[2], y.pointer, 4, ctypes.byref(n), found, workspace.pointer),
        ctypes.c_size_t(4096),
    )
    assert (n.value, found[0].algorithm, found[0].status, found[0].memory, found[0].math) == (1, 1, 0, 4096, FMA)
    assert np.isnan(y.read()).all()


def test_a_workspace_too_small_is_refused(libraries):
    g = plain()
    x, w, y = (libraries.empty(shape) for shape in (g.image, g.weights, g.top))
    descriptors = libraries.tensor(g.image), libraries.filter(g.weights), libraries.tensor(g.top)
    start = scalar(1), descriptors[0], x.pointer, descriptors[1], w.pointer, libraries.convolution()
    end = scalar(0), descriptors[2], y.pointer
    for workspace, size, status in ((x.pointer, 4095, BAD), (NOTHING, 4096, BAD)):
        call = libraries.dnn_status("cudnnConvolutionForward", *start, 1, workspace, ctypes.c_size_t(size), *end)
        assert call == status


@pytest.mark.parametrize(
    "wrong, status",
    [
        *[(dict(channels=2, weights=(4, 2, 3, 3)), BAD), (dict(top=(2, 4, 4, 3)), BAD), (dict(top=(2, 5, 4, 4)), BAD)],
        *[(dict(top=(1, 4, 4, 4)), BAD), (dict(groups=2), BAD), (dict(size=(2, 6), image=(2, 3, 2, 6)), BAD)],
    ],
)
def test_operands_that_do_not_belong_together(libraries, wrong, status):
    g = plain(**wrong)
    x, w, y = (libraries.empty(shape) for shape in (g.image, g.weights, g.top))
    for which, operands, out in ((0, (x, w), y), (1, (w, y), x), (2, (x, y), w)):
        assert run(libraries, g, which, operands, out) == status
