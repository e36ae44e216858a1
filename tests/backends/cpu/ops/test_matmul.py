"""Matrix products against numpy's in float64, over shapes and memory layouts."""

import numpy as np
import theano
import theano.tensor as tt
from hypothesis import given
from hypothesis import strategies as st

from fastvae.backends.abstract.activations import SignedRelu
from fastvae.backends.cpu.ops.matmul import Gemm, MatMul
from tests.backends.activation_formulas import ALL
from tests.backends.cpu.ops.running import DIRECT, LAYOUTS, SWEEP, compiled, drawn


@SWEEP
@given(st.data())
def test_matmul(close, data):
    m, k, n = (data.draw(st.sampled_from([1, 2, 5, 16, 33, 260])) for _ in range(3))
    activation = data.draw(st.sampled_from(list(ALL)))
    bias, tx, tw = (data.draw(st.booleans()) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, w, b = drawn(rng, *((k, m) if tx else (m, k))), drawn(rng, *((n, k) if tw else (k, n))), drawn(rng, n)
    layout = LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))]
    (y,) = compiled(MatMul(activation, (tx, tw)), layout(x), layout(w), *([b] if bias else []))
    expected = (x.T if tx else x).astype("float64") @ (w.T if tw else w) + (b if bias else 0)
    close(y, ALL[activation](expected))


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


def test_results_of_a_call_survive_the_next_one(rng):
    x, w = tt.fmatrix(), tt.fmatrix()
    function = theano.function([x, w], MatMul()(x, w), mode=DIRECT)
    a, b = rng.randn(3, 4).astype("float32"), rng.randn(4, 5).astype("float32")
    first = function(a, b)
    kept = first.copy()
    function(2 * a, b)
    np.testing.assert_array_equal(first, kept)


def test_every_activation_keeps_nan_and_a_signed_relu_its_signs(rng):
    for m, k, n in ((3, 4, 5), (256, 16, 4), (4, 16, 256), (64, 4096, 32)):  # each axis that may be shared out
        x, w = rng.randn(m, k).astype("float32"), rng.randn(k, n).astype("float32")
        x[0, 0], x[1] = np.nan, 0
        (plain,) = compiled(MatMul(), x, w)
        for activation in ALL:
            (y,) = compiled(MatMul(activation), x, w)
            np.testing.assert_array_equal(np.isnan(y), np.isnan(plain))
            if isinstance(activation, SignedRelu):
                np.testing.assert_array_equal(np.signbit(y)[1:], (plain < 0)[1:])
