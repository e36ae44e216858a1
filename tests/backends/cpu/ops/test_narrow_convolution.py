"""Convolutions to few channels, and weight gradients of those from or to few: our own kernels against float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvae.backends import abstract
from fastvae.backends.abstract import reference
from fastvae.backends.cpu.ops.convolution import Convolution
from tests.backends.cpu.ops.running import LAYOUTS, SWEEP, compiled, drawn, nchw, nhwc
from tests.backends.cpu.ops.test_convolution import HAS_AVX2, narrow_convolutions

LARGEST_PADDING = 2  # of the forward sweep, whose kernels have up to 5 rows


@pytest.fixture
def ran(capfd, monkeypatch):
    """The compiled Op's outputs, and whether the kernel for few channels computed them."""
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")

    def run(*arguments):
        capfd.readouterr()
        return compiled(*arguments), "fastvae_narrow" in capfd.readouterr().out

    return run


@SWEEP
@given(narrow_convolutions(), st.booleans(), st.sampled_from([None, "top", "image"]), st.integers(0, 99))
def test_weights_gradient(close, ran, case, to_few, sum_of, seed):
    geometry, x_shape, w_shape, g_shape, layout = case
    if to_few:  # the wide side is the image
        w_shape = (w_shape[1], w_shape[0], *w_shape[2:])
        x_shape, g_shape = (*x_shape[:3], g_shape[3]), (*g_shape[:3], x_shape[3])
    rng = np.random.default_rng(seed)
    x, g = drawn(rng, *x_shape) + np.float32(0.5), drawn(rng, *g_shape) + np.float32(0.5)
    op = Convolution(abstract.ConvWeightsGradient(sum_of, **geometry))
    (dw, *sums), narrow = ran(op, LAYOUTS[layout](x), LAYOUTS[layout](g), np.empty(w_shape, "float32"))
    assert narrow
    close(dw, reference.weights_gradient(nchw(x), nchw(g), w_shape[2:], **geometry))
    if sum_of:
        close(sums[0], (x if sum_of == "image" else g).astype("float64").sum((0, 1, 2)))


@SWEEP
@given(
    st.tuples(st.sampled_from([16, 32, 80]), st.integers(1, 4)),
    st.tuples(*[st.integers(1, 5)] * 2),
    st.tuples(*[st.integers(5, 12)] * 2),
    st.tuples(*[st.integers(0, LARGEST_PADDING)] * 4),
    st.sampled_from([(1, 1), (2, 1)]),
    st.booleans(),
    st.sampled_from([None, "relu", "sigmoid"]),
    st.sampled_from(sorted(LAYOUTS)),
    st.integers(0, 99),
)
def test_forward(close, ran, channels, kernel, size, pads, dilation, flip, activation, layout, seed):
    padding = (pads[:2], pads[2:])
    geometry = dict(stride=(1, 1), padding=padding, dilation=dilation, groups=1, flip=flip)
    rng, (wide, few) = np.random.default_rng(seed), channels
    spans = [n + sum(p) - (k - 1) * d for n, p, k, d in zip(size, padding, kernel, dilation)]
    if min(spans) < 1:
        return
    x, w, b = drawn(rng, 3, *size, wide), drawn(rng, few, wide, *kernel), drawn(rng, few)
    op = Convolution(abstract.Conv(activation, **geometry))
    (y,), narrow = ran(op, LAYOUTS[layout](x), LAYOUTS[layout](w), b)
    fits = all(max(p) <= (k - 1) * d for p, k, d in zip(padding, kernel, dilation))
    assert narrow is (HAS_AVX2 and fits)
    expected = nhwc(reference.forward(nchw(x), w.astype("float64"), **geometry)) + b
    close(y, reference.activate(expected, activation))


def test_the_result_does_not_depend_on_the_number_of_threads(python):
    code = """
import fastvae, hashlib, numpy as np
from fastvae.backends import abstract
rng = np.random.default_rng(0)
image, top = rng.standard_normal((7, 32, 9, 9)).astype("f"), rng.standard_normal((7, 3, 9, 9)).astype("f")
like, same = np.empty((3, 32, 3, 3), "f"), ((1, 1), (1, 1))
gradient = abstract.ConvWeightsGradient(padding=same)(image, top, like).eval()
forward = abstract.Conv(padding=same)(image, gradient).eval()
print(hashlib.sha256(gradient.tobytes() + forward.tobytes()).hexdigest())
"""
    done = [python(code, FASTVAE_PROFILE="cpu", OMP_NUM_THREADS=threads) for threads in "12"]
    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    assert done[0].stdout == done[1].stdout
