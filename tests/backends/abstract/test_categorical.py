"""The categorical log-probability where no backend takes it: against scipy, and its gradient against differences."""

import numpy as np
import scipy.special
import theano
import theano.tensor as tt

from fastvae.backends.abstract import categorical

PYTHON = theano.Mode(linker="py", optimizer=None)  # runs `perform`
STOCK = theano.Mode(linker="py", optimizer="fast_run").excluding("fastvae_onednn")  # compiles nothing


def test_perform_and_stock_are_scipys_and_the_gradient_that_of_differences(close):
    rng = np.random.default_rng(5)
    x = (rng.integers(0, 5, (2, 3, 2, 2)) / 4).astype("float32")
    value = rng.standard_normal((2, 15, 2, 2)).astype("float32")
    logits, g = theano.shared(value), rng.standard_normal(x.shape).astype("float32")
    nats = categorical.log_prob(tt.constant(x), logits, 5)
    gradient = theano.grad(tt.sum(nats * g), logits)

    def by_scipy(value):
        by_level = scipy.special.log_softmax(value.reshape(2, 3, 5, 2, 2).astype("float64"), axis=2)
        level = np.rint(4 * x).astype(int)[:, :, None]
        return np.take_along_axis(by_level, level, axis=2)[:, :, 0]

    direction = rng.standard_normal(value.shape)
    rise = ((by_scipy(value + 1e-4 * direction) - by_scipy(value - 1e-4 * direction)) * g).sum() / 2e-4
    for mode in (PYTHON, STOCK):
        found, slope = theano.function([], [nats, gradient], mode=mode)()
        close(found, by_scipy(value))
        np.testing.assert_allclose((slope * direction).sum(), rise, rtol=1e-3)
    nodes = theano.function([], [nats, gradient], mode=STOCK).maker.fgraph.apply_nodes
    assert not any(type(node.op).__module__.startswith("fastvae.backends") for node in nodes)
