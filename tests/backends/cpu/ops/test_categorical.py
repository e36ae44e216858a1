"""Log-probabilities of levels and their gradient against float64, in every layout, and where they stand in a graph."""

import numpy as np
import pytest
import scipy.special
import theano
import theano.tensor as tt

from fastvae.backends import abstract
from fastvae.backends.abstract import categorical
from fastvae.backends.cpu.ops.layout import Layout
from fastvae.backends.cpu.ops.pixels import PixelPass
from tests.backends.cpu.ops.running import LAYOUTS, compiled

# batch, channels, levels, height, width
SHAPES = [(2, 1, 3, 5, 4), (3, 2, 7, 1, 1), (1, 3, 256, 9, 9), (2, 1, 1, 2, 2)]


def expected(x, logits, g, n_levels):
    """Nats, logarithms of the sums, and the gradient, in float64."""
    n, c, h, w = x.shape
    by_level = logits.reshape(n, c, n_levels, h, w).astype("float64")
    total = scipy.special.logsumexp(by_level, axis=2)
    is_level = np.round(x * np.float32(n_levels - 1))[:, :, None] == np.arange(n_levels)[:, None, None]
    nats = np.where(is_level, by_level, 0).sum(2) - total
    return nats, total, (g[:, :, None] * (is_level - np.exp(by_level - total[:, :, None]))).reshape(logits.shape)


def drawn(rng, shape, spread=3):
    n, c, n_levels, h, w = shape
    x = (rng.integers(0, n_levels, (n, c, h, w)) / max(n_levels - 1, 1)).astype("float32")
    logits = (spread * rng.standard_normal((n, c * n_levels, h, w))).astype("float32")
    return x, logits, rng.standard_normal((n, c, h, w)).astype("float32")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("last", [False, True])
def test_values(layout, last, close):
    rng, lay = np.random.default_rng(2), LAYOUTS[layout]
    for shape in SHAPES:
        x, logits, g = drawn(rng, shape)
        nats, total, gradient = expected(x, logits, g, shape[2])
        logits = lay(np.ascontiguousarray(logits.transpose(0, 2, 3, 1)) if last else logits)
        found = compiled(PixelPass(categorical.CategoricalLogProb(shape[2]), last), lay(x), logits)
        for value, reference in zip(found, (nats, total)):
            close(value, reference, 1e-6)
        backward = PixelPass(categorical.CategoricalLogProbGradient(shape[2]), last)
        (value,) = compiled(backward, lay(x), logits, lay(total.astype("float32")), lay(g))
        close(value.transpose(0, 3, 1, 2) if last else value, gradient, 2e-6)


def test_logits_of_any_size_and_pixels_that_are_no_level():
    logits = np.array([1e30, -1e30, 0, np.inf, np.nan, 1], "float32").reshape(3, 2, 1, 1)
    x = np.array([0, 1, 1], "float32").reshape(3, 1, 1, 1)
    nats, total = compiled(PixelPass(categorical.CategoricalLogProb(2), False), x, logits)
    assert nats[0, 0] == 0 and total[0, 0] == np.float32(1e30)
    assert np.isnan(nats[1:]).all()
    outside = np.array([np.nan, -1, 7], "float32").reshape(3, 1, 1, 1)
    nats, total = compiled(
        PixelPass(categorical.CategoricalLogProb(2), False), outside, np.ones((3, 2, 1, 1), "float32")
    )
    np.testing.assert_array_equal(nats, -total)


def test_sizes_that_do_not_fit_are_an_error():
    x, logits = np.zeros((2, 1, 3, 3), "float32"), np.zeros((2, 5, 3, 3), "float32")
    with pytest.raises(ValueError, match=r"CategoricalLogProb: .* outputs \(2, 5, 3, 3\) are not 4 for each pixel"):
        compiled(PixelPass(categorical.CategoricalLogProb(4), False), x, logits)


@pytest.mark.parametrize("convolution", [False, True])
def test_a_step_is_stocks_and_moves_no_logits(convolution, stock, close):
    rng = np.random.default_rng(3)
    x, _, _ = drawn(rng, (4, 1, 8, 6, 6))
    z = theano.shared(rng.standard_normal((4, 2, 6, 6)).astype("float32"))
    if convolution:
        w = theano.shared(rng.standard_normal((2, 8, 1, 1)).astype("float32"))
        logits = abstract.conv_transpose2d(z, w)
    else:
        w = theano.shared(rng.standard_normal((72, 8 * 36)).astype("float32"))
        logits = abstract.Unflatten((8, 6, 6))(abstract.dense(z.flatten(2), w))
    loss = tt.sum(categorical.log_prob(tt.constant(x), logits, 8))
    outputs = [loss, *theano.grad(loss, [z, w])]
    function = theano.function([], outputs)
    nodes = [node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, PixelPass)]
    assert [node.op.last for node in nodes] == [convolution] * 2
    assert not any(isinstance(v.owner.op, Layout) for node in nodes for v in node.inputs[1:2] if v.owner)
    for value, reference in zip(function(), theano.function([], outputs, mode=stock)()):
        close(value, reference)
