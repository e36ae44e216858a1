"""oneDNN's Ops against float64 references, over shapes, geometries and memory layouts."""

import math
import pathlib
from functools import partial

import numpy as np
import pytest
import theano
import theano.tensor as tt
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from theano.compile.nanguardmode import NanGuardMode

from fastvae.backends import abstract
from fastvae.backends.abstract import reference
from fastvae.backends.cpu.ops.convolution import Convolution
from fastvae.backends.cpu.ops.layout import Layout
from fastvae.backends.cpu.ops.matmul import Gemm, MatMul
from fastvae.backends.cpu.ops.relu_gradient import ReluGradient
from fastvae.backends.cpu.ops.sums import ColumnSum

HAS_AVX512 = "avx512f" in pathlib.Path("/proc/cpuinfo").read_text()
DIRECT = theano.Mode(linker="cvm", optimizer=None)  # the Op itself, without rewrites
SWEEP = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LAYOUTS = {
    "contiguous": lambda a: a,
    "channels first": lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 1)).transpose(0, *range(2, a.ndim), 1),
    "reversed": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "fortran": np.asfortranarray,
}


def compiled(op, *values):
    """Run an Op once on these values, as they lie in memory."""
    inputs = [tt.TensorType(v.dtype, [False] * v.ndim)() for v in values]
    function = theano.function([theano.In(v, borrow=True) for v in inputs], op(*inputs, return_list=True), mode=DIRECT)
    return function(*values)


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    pad = st.tuples(st.integers(0, 3), st.integers(0, 3))
    geometry = dict(
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=draw(st.one_of(st.just(((0, 0), (0, 0))), st.tuples(pad, pad), st.sampled_from(["half", "full"]))),
        dilation=draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 3)])),
        groups=groups,
        flip=draw(st.booleans()),
    )
    channels = st.sampled_from([1, 1, 3, 8, 16, 20])
    c, o = draw(channels) * groups, draw(channels) * groups
    kernel, size = (draw(st.tuples(*[st.integers(1, n)] * 2)) for n in (4, 12))
    top = reference.out_size(size, kernel, geometry["padding"], geometry["stride"], geometry["dilation"])
    assume(min(top) > 0)
    n = draw(st.sampled_from([1, 2, 3, 7]))
    return geometry, (n, *size, c), (o, c // groups, *kernel), (n, *top, o), draw(st.sampled_from(sorted(LAYOUTS)))


def drawn(rng, *shape):
    return rng.standard_normal(shape).astype("float32")


def nchw(a):
    return a.transpose(0, 3, 1, 2).astype("float64")


def nhwc(a):
    return a.transpose(0, 2, 3, 1)


@SWEEP
@given(convolutions(), st.booleans(), st.integers(0, 99))
def test_forward(close, case, relu, seed):
    geometry, x_shape, w_shape, _, layout = case
    rng = np.random.default_rng(seed)
    x, w, b = drawn(rng, *x_shape), drawn(rng, *w_shape), drawn(rng, w_shape[0])
    (y,) = compiled(
        Convolution(abstract.Conv("relu" if relu else None, **geometry)), LAYOUTS[layout](x), LAYOUTS[layout](w), b
    )
    expected = nhwc(reference.forward(nchw(x), w.astype("float64"), **geometry)) + b
    close(y, np.maximum(expected, 0) if relu else expected)


@SWEEP
@given(convolutions(), st.booleans(), st.booleans(), st.integers(0, 99))
def test_transposed(close, case, relu, by_vector, seed):
    geometry, x_shape, w_shape, g_shape, layout = case
    rng = np.random.default_rng(seed)
    g, w, b = drawn(rng, *g_shape), drawn(rng, *w_shape), drawn(rng, x_shape[3])
    like = np.array(x_shape[1:3]) if by_vector else np.empty(x_shape, "float32")
    op = Convolution(abstract.ConvTransposed("relu" if relu else None, **geometry))
    (y,) = compiled(op, LAYOUTS[layout](g), LAYOUTS[layout](w), b, like)
    expected = nhwc(reference.image_gradient(nchw(g), w.astype("float64"), x_shape[1:3], **geometry)) + b
    close(y, np.maximum(expected, 0) if relu else expected)


@SWEEP
@given(convolutions(), st.sampled_from([None, "top", "image"]), st.integers(0, 99))
def test_weights_gradient(close, case, sum_of, seed):
    geometry, x_shape, w_shape, g_shape, layout = case
    rng = np.random.default_rng(seed)
    x, g = drawn(rng, *x_shape) + np.float32(0.5), drawn(rng, *g_shape) + np.float32(0.5)
    op = Convolution(abstract.ConvWeightsGradient(sum_of, **geometry))
    gw, *sums = compiled(op, LAYOUTS[layout](x), LAYOUTS[layout](g), np.empty(w_shape, "float32"))
    close(gw, reference.weights_gradient(nchw(x), nchw(g), w_shape[2:], **geometry))
    if sum_of:
        close(sums[0], (x if sum_of == "image" else g).astype("float64").sum((0, 1, 2)))


@st.composite
def winograd_convolutions(draw):
    """Sizes that Winograd's kernel takes, with tiles that stick out on every side."""
    pad = st.tuples(st.integers(0, 2), st.integers(0, 2))
    geometry = dict(
        stride=(1, 1), padding=draw(st.tuples(pad, pad)), dilation=(1, 1), groups=1, flip=draw(st.booleans())
    )
    c, o = (draw(st.sampled_from([32, 48, 80])) for _ in range(2))
    size = draw(st.tuples(*[st.integers(3, 21)] * 2))
    top = reference.out_size(size, (3, 3), geometry["padding"], geometry["stride"], geometry["dilation"])
    fewest = min(math.prod(-(-length // 4) for length in lengths) for lengths in (size, top))  # tiles of an image
    n = -(-200 // fewest)
    assume(n * math.prod(size) < 8000)  # the reference is slow
    return geometry, (n, *size, c), (o, c, 3, 3), (n, *top, o), draw(st.sampled_from(sorted(LAYOUTS)))


WINOGRAD_SWEEP = settings(SWEEP, max_examples=20)


@WINOGRAD_SWEEP
@given(winograd_convolutions(), st.booleans(), st.integers(0, 99))
def test_winograd(close, capfd, monkeypatch, case, relu, seed):
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")  # our own lines only: oneDNN has read the variable long ago
    geometry, x_shape, w_shape, g_shape, layout = case
    rng, arrange, relu = np.random.default_rng(seed), LAYOUTS[layout], "relu" if relu else None
    x, w, g = drawn(rng, *x_shape), drawn(rng, *w_shape), drawn(rng, *g_shape) + np.float32(0.5)
    b, c = drawn(rng, w_shape[0]), drawn(rng, w_shape[1])

    def run(abstract_op, *values):
        capfd.readouterr()
        result = compiled(Convolution(abstract_op(**geometry), winograd=True), *values)
        assert ("fastvae_winograd" in capfd.readouterr().out) is HAS_AVX512
        return result

    w64, rectified = w.astype("float64"), (lambda a: np.maximum(a, 0)) if relu else (lambda a: a)
    (y,) = run(partial(abstract.Conv, relu), arrange(x), arrange(w), b)
    close(y, rectified(nhwc(reference.forward(nchw(x), w64, **geometry)) + b))
    (image,) = run(partial(abstract.ConvTransposed, relu), arrange(g), arrange(w), c, np.empty(x_shape, "float32"))
    close(image, rectified(nhwc(reference.image_gradient(nchw(g), w64, x_shape[1:3], **geometry)) + c))
    for name, summed in (("top", g), ("image", x)):
        gradient = partial(abstract.ConvWeightsGradient, name)
        dw, sums = run(gradient, arrange(x), arrange(g), np.empty(w_shape, "float32"))
        close(dw, reference.weights_gradient(nchw(x), nchw(g), (3, 3), **geometry))
        close(sums, summed.astype("float64").sum((0, 1, 2)))


@st.composite
def narrow_convolutions(draw):
    """Sizes that the kernel for images of few channels takes: some taps and pixels are in the border alone."""
    pad = st.tuples(st.integers(0, 3), st.integers(0, 3))
    geometry = dict(
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=draw(st.one_of(st.just(((0, 0), (0, 0))), st.tuples(pad, pad), st.sampled_from(["half", "full"]))),
        dilation=draw(st.sampled_from([(1, 1), (2, 3)])),
        groups=1,
        flip=draw(st.booleans()),
    )
    kernel, size = (draw(st.tuples(*[st.integers(1, n)] * 2)) for n in (5, 13))
    top = reference.out_size(size, kernel, geometry["padding"], geometry["stride"], geometry["dilation"])
    assume(min(top) > 0)
    n, c, o = draw(st.sampled_from([1, 2, 5])), draw(st.integers(1, 4)), draw(st.sampled_from([16, 32, 48, 64, 144]))
    return geometry, (n, *size, c), (o, c, *kernel), (n, *top, o), draw(st.sampled_from(sorted(LAYOUTS)))


@SWEEP
@given(narrow_convolutions(), st.sampled_from(abstract.ACTIVATIONS), st.booleans(), st.integers(0, 99))
def test_narrow(close, capfd, monkeypatch, case, activation, has_bias, seed):
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")
    geometry, x_shape, w_shape, g_shape, layout = case
    rng = np.random.default_rng(seed)
    g, w, b = drawn(rng, *g_shape), drawn(rng, *w_shape), has_bias * drawn(rng, x_shape[3])
    op = Convolution(abstract.ConvTransposed(activation, **geometry))
    bias, like = ([b] if has_bias else []), np.empty(x_shape, "float32")
    capfd.readouterr()
    (image,) = compiled(op, LAYOUTS[layout](g), LAYOUTS[layout](w), *bias, like)
    assert ("deconvolution,fastvae_narrow" in capfd.readouterr().out) is HAS_AVX512
    expected = nhwc(reference.image_gradient(nchw(g), w.astype("float64"), x_shape[1:3], **geometry)) + b
    close(image, reference.activate(expected, activation))


NOT_NARROW = [(5, 16, 3, 1), (1, 24, 3, 1), (1, 16, 12, 1), (2, 32, 3, 2)]


@pytest.mark.parametrize("channels, filters, size, groups", NOT_NARROW)
def test_narrow_leaves_other_sizes_to_onednn(close, capfd, monkeypatch, channels, filters, size, groups):
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")
    rng = np.random.default_rng(0)
    g, w = drawn(rng, 2, 5, 5, filters), drawn(rng, filters, channels // groups, size, size)
    (image,) = compiled(Convolution(abstract.ConvTransposed(groups=groups)), g, w)
    assert "fastvae_narrow" not in capfd.readouterr().out
    geometry = dict(padding=((0, 0), (0, 0)), stride=(1, 1), dilation=(1, 1), groups=groups, flip=False)
    close(image, nhwc(reference.image_gradient(nchw(g), w.astype("float64"), image.shape[1:3], **geometry)))


def test_narrow_keeps_nan_and_does_not_depend_on_the_number_of_threads(python):
    code = """
import fastvae, hashlib, numpy as np, theano, theano.tensor as tt
from fastvae.backends import abstract
rng = np.random.default_rng(0)
top, w = rng.standard_normal((5, 32, 9, 9)).astype("f"), rng.standard_normal((32, 1, 3, 3)).astype("f")
top[0, 7, 4, 4] = np.nan
for activation in abstract.ACTIVATIONS:
    image = theano.function([], abstract.conv_transpose2d(*map(tt.as_tensor, (top, w)), activation=activation))()
    assert np.isnan(image[0, 0, 4:7, 4:7]).all() and np.isnan(image).sum() == 9
    print(hashlib.sha256(image.tobytes()).hexdigest())
"""
    done = [python(code, FASTVAE_PROFILE="cpu", OMP_NUM_THREADS=threads) for threads in "12"]
    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    assert done[0].stdout == done[1].stdout


def test_winograd_leaves_other_sizes_to_onednn_and_keeps_nan(capfd, monkeypatch):
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")
    rng = np.random.default_rng(0)
    for n, channels, size in ((50, 32, 3), (50, 30, 3), (50, 32, 1), (49, 32, 3)):
        x, w = drawn(rng, n, 8, 8, channels), drawn(rng, 32, channels, size, size)
        x[0, 3, 3, 5] = np.nan
        (y,) = compiled(Convolution(abstract.Conv("relu"), winograd=True), x, w)
        assert np.isnan(y).any()
        assert ("fastvae_winograd" in capfd.readouterr().out) is ((n, channels, size) == (50, 32, 3) and HAS_AVX512)


def test_winograd_is_exactly_the_bias_where_all_that_it_sees_is_zero():
    rng = np.random.default_rng(0)
    x, w, b = np.zeros((16, 16, 16, 32), "float32"), drawn(rng, 32, 32, 3, 3), drawn(rng, 32)
    x[:, 5:9, 6:11] = drawn(rng, 16, 4, 5, 32)
    (y,) = compiled(Convolution(abstract.Conv(), winograd=True), x, w, b)
    sees = np.zeros((14, 14), bool)
    sees[3:9, 4:11] = True
    assert (y[:, ~sees] == b).all() and (y[:, sees] != b).all()


@SWEEP
@given(st.data())
def test_matmul(close, data):
    m, k, n = (data.draw(st.sampled_from([1, 2, 5, 16, 33, 260])) for _ in range(3))
    activation = data.draw(st.sampled_from(abstract.ACTIVATIONS))
    bias, tx, tw = (data.draw(st.booleans()) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, w, b = drawn(rng, *((k, m) if tx else (m, k))), drawn(rng, *((n, k) if tw else (k, n))), drawn(rng, n)
    layout = LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))]
    (y,) = compiled(MatMul(activation, (tx, tw)), layout(x), layout(w), *([b] if bias else []))
    expected = (x.T if tx else x).astype("float64") @ (w.T if tw else w) + (b if bias else 0)
    close(y, reference.activate(expected, activation))


@SWEEP
@given(st.data())
def test_gemm(close, data):
    m, k, n = (data.draw(st.sampled_from([1, 2, 5, 33])) for _ in range(3))
    alpha, beta = (np.float32(data.draw(st.sampled_from([0, 1, -0.5]))) for _ in range(2))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    z, x, y = drawn(rng, m, n), drawn(rng, m, k), drawn(rng, k, n)
    layout = LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))]
    (value,) = compiled(Gemm(), layout(z), np.array(alpha), layout(x), layout(y), np.array(beta))
    close(value, beta * z.astype("float64") + alpha * (x.astype("float64") @ y))


@SWEEP
@given(
    st.lists(st.sampled_from([1, 2, 3, 17, 40]), min_size=2, max_size=4), st.sampled_from(sorted(LAYOUTS)), st.randoms()
)
def test_layout(shape, layout, random):
    order = random.sample(range(len(shape)), len(shape))
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    (y,) = compiled(Layout(order), LAYOUTS[layout](x))
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y, x.transpose(order))


@pytest.mark.parametrize("shape", [(64, 576, 64, 1), (3, 50, 60, 20), (5, 70)])
def test_layout_of_large_arrays_in_parallel(shape, rng):
    x = rng.standard_normal(shape).astype("float32")
    for order in {(0, 3, 1, 2)[: len(shape)], tuple(range(len(shape)))[::-1]}:
        if sorted(order) == list(range(len(shape))):
            (y,) = compiled(Layout(order), x)
            np.testing.assert_array_equal(y, x.transpose(order))


@pytest.mark.parametrize("shape", [(4, 3), (1000, 65), (7, 30, 40, 6)])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_column_sum(shape, layout, rng, close):
    x = rng.standard_normal(shape).astype("float32") + np.float32(1)
    (y,) = compiled(ColumnSum(), LAYOUTS[layout](x))
    close(y, x.astype("float64").sum(tuple(range(x.ndim - 1))), 1e-6)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("shape", [(3, 4), (3, 50, 60, 9)])
def test_relu_gradient(shape, layout, rng):
    y, g = np.maximum(rng.standard_normal(shape), 0).astype("float32"), rng.standard_normal(shape).astype("float32")
    for op in (ReluGradient(), ReluGradient().in_place()):
        a, b = tt.TensorType("float32", [False] * len(shape))(), tt.TensorType("float32", [False] * len(shape))()
        function = theano.function([a, theano.In(b, mutable=True)], op(a, b), mode=DIRECT, accept_inplace=True)
        for _ in range(2):
            np.testing.assert_array_equal(
                function(LAYOUTS[layout](y), LAYOUTS[layout](g.copy())), np.where(y > 0, g, 0)
            )


def test_shapes_that_change_from_call_to_call(rng, close):
    x, w, b = tt.tensor4(), tt.tensor4(), tt.fvector()
    function = theano.function([x, w, b], Convolution(abstract.Conv())(x, w, b), mode=DIRECT)
    weights, bias = rng.randn(5, 3, 2, 2).astype("float32"), rng.randn(5).astype("float32")
    for size in [*range(2, 32), *range(2, 32)]:  # more shapes than plans are kept
        image = rng.randn(size % 4 + 1, size, size, 3).astype("float32")
        plain = dict(padding=((0, 0), (0, 0)), stride=(1, 1), dilation=(1, 1), groups=1, flip=False)
        expected = nhwc(reference.forward(nchw(image), weights.astype("float64"), **plain)) + bias
        close(function(image, weights, bias), expected)


@pytest.mark.parametrize("sum_of", [None, "top", "image"])
def test_empty_batch(sum_of):
    x, w, g = (np.zeros(s, "float32") for s in ((0, 5, 5, 3), (4, 3, 2, 2), (0, 4, 4, 4)))
    assert compiled(Convolution(abstract.Conv()), x, w)[0].shape == (0, 4, 4, 4)
    assert compiled(Convolution(abstract.ConvTransposed()), g, w)[0].shape == (0, 5, 5, 3)
    for gradient in compiled(Convolution(abstract.ConvWeightsGradient(sum_of)), x, g, w):
        assert gradient.size and not gradient.any()
    assert compiled(MatMul(), np.zeros((0, 3), "float32"), np.zeros((3, 2), "float32"))[0].shape == (0, 2)
    assert not compiled(MatMul(), np.zeros((2, 0), "float32"), np.zeros((0, 2), "float32"))[0].any()


def arrays(*shapes):
    return [np.zeros(s, "float32") for s in shapes]


@pytest.mark.parametrize(
    "op, values, message",
    [
        (Convolution(abstract.Conv()), arrays((1, 5, 5, 3), (4, 2, 2, 2)), "weights' channels .* differ"),
        (Convolution(abstract.Conv()), arrays((1, 2, 2, 3), (4, 3, 3, 3)), "kernel does not fit"),
        (Convolution(abstract.Conv()), arrays((1, 2, 2, 3), (4, 3, 0, 1)), "kernel is empty"),
        (Convolution(abstract.Conv(groups=2)), arrays((1, 4, 4, 4), (3, 2, 1, 1)), "not divisible by groups"),
        (Convolution(abstract.Conv()), arrays((1, 4, 4, 4), (3, 4, 1, 1), (2,)), "bias has another length"),
        (Convolution(abstract.ConvTransposed()), arrays((1, 4, 4, 4), (3, 4, 1, 1)), "filters differ"),
        (
            Convolution(abstract.ConvTransposed()),
            arrays((1, 4, 4, 3), (3, 4, 1, 1), (1, 9, 9, 4)),
            "do not belong together",
        ),
        (
            Convolution(abstract.ConvWeightsGradient()),
            arrays((1, 4, 4, 4), (2, 4, 4, 3), (3, 4, 1, 1)),
            "differ in batch size",
        ),
        (MatMul(), arrays((2, 3), (2, 3)), "inner sizes differ"),
        (MatMul(), arrays((2, 3), (3, 2), (3,)), "bias has another length"),
        (Gemm(), arrays((2, 2), (), (2, 3), (3, 3), ()), "another shape"),
        (ReluGradient(), arrays((2, 2), (2, 3)), "different shapes"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(op, values, message):
    with pytest.raises(ValueError, match=message):
        compiled(op, *values)


@pytest.mark.parametrize("op", [Convolution(abstract.Conv("relu")), MatMul("relu")])
def test_python_mode_computes_the_same(op, rng, close):
    shapes = [(2, 5, 5, 3), (4, 3, 2, 2), (4,)] if isinstance(op, Convolution) else [(3, 4), (4, 5), (5,)]
    values = [rng.randn(*s).astype("float32") for s in shapes]
    output = op(*map(tt.constant, values))
    python = theano.function([], output, mode=theano.Mode(linker="py", optimizer=None))
    close(compiled(op, *values)[0], python())


def test_results_of_a_call_survive_the_next_one(rng):
    x, w = tt.fmatrix(), tt.fmatrix()
    function = theano.function([x, w], MatMul()(x, w), mode=DIRECT)
    a, b = rng.randn(3, 4).astype("float32"), rng.randn(4, 5).astype("float32")
    first = function(a, b)
    kept = first.copy()
    function(2 * a, b)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("channels, filters", [(1, 16), (16, 16), (3, 5), (16, 1)])
def test_sigmoid_saturates_and_keeps_nan(channels, filters):
    image, weights = np.zeros((2, 5, 5, channels), "float32"), np.ones((filters, channels, 3, 3), "float32")
    image[0, 0, 0, 0], image[0, 4, 4, 0], image[1, 0, 0, 0], image[1, 4, 4, 0] = np.nan, 100, -100, 2
    (y,) = compiled(Convolution(abstract.Conv("sigmoid")), image, weights)
    assert np.isnan(y[0, 0, 0]).all() and (y[0, 2, 2] == 1).all() and (abs(y[1, 0, 0]) < 1e-37).all()
    np.testing.assert_allclose(y[1, 2, 2], 1 / (1 + np.exp(-2)), rtol=1e-6)
    values = np.array([[np.nan], [np.inf], [-np.inf], [100], [-100], [0]], "float32")
    (y,) = compiled(MatMul("sigmoid"), values, np.ones((1, 1), "float32"))
    np.testing.assert_allclose(y.ravel(), [np.nan, 1, 0, 1, 0, 0.5], atol=1e-37)


@pytest.mark.parametrize("channels, filters", [(1, 16), (16, 16), (3, 5), (16, 1)])
def test_relu_keeps_nan_and_denormals(channels, filters):
    image, weights = np.ones((2, 5, 5, channels), "float32"), np.ones((filters, channels, 3, 3), "float32")
    image[0, 0, 0, 0] = np.nan
    (y,) = compiled(Convolution(abstract.Conv("relu")), image, weights)
    assert np.isnan(y[0, 0, 0]).all() and not np.isnan(y[1]).any()
    (y,) = compiled(MatMul("relu"), np.array([[1e-40], [np.nan], [-1]], "float32"), np.ones((1, 1), "float32"))
    assert y[0] == np.float32(1e-40) and np.isnan(y[1]) and y[2] == 0


@pytest.mark.parametrize("linker", ["cvm", "cvm_nogc", "vm", "vm_nogc", "c|py", "py", "nan guard"])
def test_every_linker_runs_them(linker, rng, close):
    x, w = (theano.shared(rng.randn(*shape).astype("float32")) for shape in ((2, 3, 8, 8), (4, 3, 3, 3)))
    y = abstract.conv2d(x, w, activation="relu").flatten(2)
    outputs = [y, *theano.grad(tt.sum(y**2), [x, w])]
    mode = NanGuardMode() if linker == "nan guard" else theano.Mode(linker=linker, optimizer="fast_run")
    function = theano.function([], outputs, mode=mode)
    function()
    for value, expected in zip(function(), theano.function([], outputs)()):
        close(value, expected)


def test_exceptions_come_through_and_the_function_goes_on(rng):
    x = tt.ftensor4("x")
    function = theano.function([x], abstract.conv2d(x, np.ones((1, 3, 2, 2), "float32")))
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"channels .* differ from the image's: image \(N, C, H, W\) = \(1, 2, 4, 4\)"
        ):
            function(np.ones((1, 2, 4, 4), "float32"))
        assert (function(np.ones((1, 3, 4, 4), "float32")) == 12).all()
