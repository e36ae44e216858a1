"""Convolutions against float64 references, over shapes, geometries and memory layouts."""

import math
import pathlib
from functools import partial

import numpy as np
import pytest
import theano
import theano.tensor as tt
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from theano.tensor.nnet.bn import batch_normalization_train
from theano.tensor.signal.pool import pool_2d

from fastvae.backends import abstract
from fastvae.backends.abstract import reference
from fastvae.backends.abstract.activations import SignedRelu
from fastvae.backends.cpu.ops.convolution import Convolution
from tests.backends.activation_formulas import ALL
from tests.backends.cpu.ops.running import DIRECT, LAYOUTS, SWEEP, compiled, drawn, nchw, nhwc

ACTIVATIONS = st.sampled_from(list(ALL))
HAS_AVX2 = "avx2" in pathlib.Path("/proc/cpuinfo").read_text()


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


@SWEEP
@given(convolutions(), ACTIVATIONS, st.integers(0, 99))
def test_forward(close, case, activation, seed):
    geometry, x_shape, w_shape, _, layout = case
    rng = np.random.default_rng(seed)
    x, w, b = drawn(rng, *x_shape), drawn(rng, *w_shape), drawn(rng, w_shape[0])
    (y,) = compiled(Convolution(abstract.Conv(activation, **geometry)), LAYOUTS[layout](x), LAYOUTS[layout](w), b)
    expected = nhwc(reference.forward(nchw(x), w.astype("float64"), **geometry)) + b
    close(y, ALL[activation](expected))


@SWEEP
@given(convolutions(), ACTIVATIONS, st.booleans(), st.integers(0, 99))
def test_transposed(close, case, activation, by_vector, seed):
    geometry, x_shape, w_shape, g_shape, layout = case
    rng = np.random.default_rng(seed)
    g, w, b = drawn(rng, *g_shape), drawn(rng, *w_shape), drawn(rng, x_shape[3])
    like = np.array(x_shape[1:3]) if by_vector else np.empty(x_shape, "float32")
    op = Convolution(abstract.ConvTransposed(activation, **geometry))
    (y,) = compiled(op, LAYOUTS[layout](g), LAYOUTS[layout](w), b, like)
    expected = nhwc(reference.image_gradient(nchw(g), w.astype("float64"), x_shape[1:3], **geometry)) + b
    close(y, ALL[activation](expected))


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
@given(winograd_convolutions(), st.sampled_from([f for f in ALL if f != "sigmoid"]), st.integers(0, 99))
def test_winograd(close, capfd, monkeypatch, case, activation, seed):
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")  # our own lines only: oneDNN has read the variable long ago
    geometry, x_shape, w_shape, g_shape, layout = case
    rng, arrange = np.random.default_rng(seed), LAYOUTS[layout]
    x, w, g = drawn(rng, *x_shape), drawn(rng, *w_shape), drawn(rng, *g_shape) + np.float32(0.5)
    b, c = drawn(rng, w_shape[0]), drawn(rng, w_shape[1])

    def run(abstract_op, *values):
        capfd.readouterr()
        result = compiled(Convolution(abstract_op(**geometry), winograd=True), *values)
        assert ("fastvae_winograd" in capfd.readouterr().out) is HAS_AVX2
        return result

    w64, activated = w.astype("float64"), ALL[activation]
    (y,) = run(partial(abstract.Conv, activation), arrange(x), arrange(w), b)
    close(y, activated(nhwc(reference.forward(nchw(x), w64, **geometry)) + b))
    (image,) = run(
        partial(abstract.ConvTransposed, activation), arrange(g), arrange(w), c, np.empty(x_shape, "float32")
    )
    close(image, activated(nhwc(reference.image_gradient(nchw(g), w64, x_shape[1:3], **geometry)) + c))
    for name, summed in (("top", g), ("image", x)):
        gradient = partial(abstract.ConvWeightsGradient, name)
        dw, sums = run(gradient, arrange(x), arrange(g), np.empty(w_shape, "float32"))
        close(dw, reference.weights_gradient(nchw(x), nchw(g), (3, 3), **geometry))
        close(sums, summed.astype("float64").sum((0, 1, 2)))


@WINOGRAD_SWEEP
@given(
    st.tuples(*[st.sampled_from([32, 48, 80])] * 2),
    st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 9)),
    st.sampled_from(list(ALL)),
    st.sampled_from(sorted(LAYOUTS)),
    st.integers(0, 99),
)
def test_pointwise(close, capfd, monkeypatch, channels, pixels, activation, layout, seed):
    """1x1 kernels over any number of pixels, whose last few are no whole panel."""
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")
    rng, arrange, (c, o) = np.random.default_rng(seed), LAYOUTS[layout], channels
    x, g, w = drawn(rng, *pixels, c), drawn(rng, *pixels, o) + np.float32(0.5), drawn(rng, o, c, 1, 1)
    b, d = drawn(rng, o), drawn(rng, c)

    def run(abstract_op, *values):
        capfd.readouterr()
        result = compiled(Convolution(abstract_op), *values)
        assert ("fastvae_pointwise" in capfd.readouterr().out) is HAS_AVX2
        return result

    matrix = w[:, :, 0, 0].astype("float64")
    (y,) = run(abstract.Conv(activation), arrange(x), arrange(w), b)
    close(y, ALL[activation](x @ matrix.T + b))
    (image,) = run(abstract.ConvTransposed(activation), arrange(g), arrange(w), d)
    close(image, ALL[activation](g @ matrix + d))
    for name, summed in (("top", g), ("image", x)):
        dw, sums = run(abstract.ConvWeightsGradient(name), arrange(x), arrange(g), np.empty(w.shape, "float32"))
        close(dw[:, :, 0, 0], np.einsum("nhwo,nhwc->oc", g.astype("float64"), x))
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
@given(narrow_convolutions(), ACTIVATIONS, st.booleans(), st.integers(0, 99))
def test_narrow(close, capfd, monkeypatch, case, activation, has_bias, seed):
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")
    geometry, x_shape, w_shape, g_shape, layout = case
    rng = np.random.default_rng(seed)
    g, w, b = drawn(rng, *g_shape), drawn(rng, *w_shape), has_bias * drawn(rng, x_shape[3])
    op = Convolution(abstract.ConvTransposed(activation, **geometry))
    bias, like = ([b] if has_bias else []), np.empty(x_shape, "float32")
    capfd.readouterr()
    (image,) = compiled(op, LAYOUTS[layout](g), LAYOUTS[layout](w), *bias, like)
    assert ("deconvolution,fastvae_narrow" in capfd.readouterr().out) is HAS_AVX2
    expected = nhwc(reference.image_gradient(nchw(g), w.astype("float64"), x_shape[1:3], **geometry)) + b
    close(image, ALL[activation](expected))


NOT_NARROW = [(5, 16, 3, 1), (1, 20, 3, 1), (1, 16, 12, 1), (2, 32, 3, 2)]


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
        assert ("fastvae_winograd" in capfd.readouterr().out) is ((n, channels, size) == (50, 32, 3) and HAS_AVX2)


def test_winograd_is_exactly_the_bias_where_all_that_it_sees_is_zero():
    rng = np.random.default_rng(0)
    x, w, b = np.zeros((16, 16, 16, 32), "float32"), drawn(rng, 32, 32, 3, 3), drawn(rng, 32)
    x[:, 5:9, 6:11] = drawn(rng, 16, 4, 5, 32)
    (y,) = compiled(Convolution(abstract.Conv(), winograd=True), x, w, b)
    sees = np.zeros((14, 14), bool)
    sees[3:9, 4:11] = True
    assert (y[:, ~sees] == b).all() and (y[:, sees] != b).all()


def test_shapes_that_change_from_call_to_call(rng, close):
    x, w, b = tt.tensor4(), tt.tensor4(), tt.fvector()
    function = theano.function([x, w, b], Convolution(abstract.Conv())(x, w, b), mode=DIRECT)
    weights, bias = rng.randn(5, 3, 2, 2).astype("float32"), rng.randn(5).astype("float32")
    for size in [*range(2, 32), *range(2, 32)]:  # more shapes than plans are kept
        image = rng.randn(size % 4 + 1, size, size, 3).astype("float32")
        plain = dict(padding=((0, 0), (0, 0)), stride=(1, 1), dilation=(1, 1), groups=1, flip=False)
        expected = nhwc(reference.forward(nchw(image), weights.astype("float64"), **plain)) + bias
        close(function(image, weights, bias), expected)


@pytest.mark.parametrize("direction", [abstract.Conv, abstract.ConvTransposed])
@pytest.mark.parametrize("winograd", [False, True])
def test_every_activation_keeps_nan_and_a_signed_relu_its_signs(direction, winograd):
    rng = np.random.default_rng(0)
    x, w = drawn(rng, 50, 8, 8, 32), drawn(rng, 32, 32, 3, 3)
    x[0, 3, 3, 5], x[1] = np.nan, 0
    for bias in (np.zeros(32, "float32"), -np.zeros(32, "float32")):
        (plain,) = compiled(Convolution(direction(), winograd), x, w, bias)
        assert np.isnan(plain).any() and (plain[1] == 0).all()
        for activation in ALL.keys() - ({"sigmoid"} if winograd else set()):  # Winograd's kernel does not take it
            (y,) = compiled(Convolution(direction(activation), winograd), x, w, bias)
            np.testing.assert_array_equal(np.isnan(y), np.isnan(plain))
            if isinstance(activation, SignedRelu):
                np.testing.assert_array_equal(np.signbit(y)[1:], (plain < 0)[1:])


@pytest.mark.parametrize("mode, winograd", [("max", False), ("average_exc_pad", True)])
def test_equal_pixels_share_the_gradient_of_a_maximum(close, mode, winograd):
    """A plain background gives ties, which Winograd's rounding would break: up to the next product it stays away."""
    x, w = tt.tensor4(dtype="float32"), tt.tensor4(dtype="float32")
    scale, shift = np.ones((1, 32, 1, 1), "float32"), np.zeros((1, 32, 1, 1), "float32")
    y = batch_normalization_train(tt.nnet.conv2d(x, w, border_mode="half"), scale, shift, "spatial")[0]
    y = pool_2d(tt.nnet.relu(y, 0.2), (2, 2), ignore_border=True, mode=mode)
    y = tt.nnet.conv2d(y, w, border_mode="half")
    factors = np.random.default_rng(1).standard_normal((50, 32, 8, 8), "float32")
    outputs = [y, theano.grad((y * factors).sum(), w)]
    function = theano.function([x, w], outputs)
    ops = [node.op for node in function.maker.fgraph.toposort() if isinstance(node.op, Convolution)]
    assert [op.winograd for op in ops if isinstance(op.abstract_op, abstract.Conv)] == [winograd, True]
    rng = np.random.default_rng(0)
    images, weights = np.full((50, 32, 16, 16), 0.7, "float32"), drawn(rng, 32, 32, 3, 3)
    images[:, :, 3:9, 4:11] += drawn(rng, 50, 32, 6, 7)
    stock = theano.function([x, w], outputs, mode=theano.compile.get_default_mode().excluding("fastvae_onednn"))
    for found, expected in zip(function(images, weights), stock(images, weights)):
        close(found, expected)
