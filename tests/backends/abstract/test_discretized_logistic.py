"""The discretised logistic where no backend takes it, against complex arithmetic of twice the precision."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.abstract import discretized_logistic
from tests.backends.abstract import logistic_oracle

PYTHON = theano.Mode(linker="py", optimizer=None)  # runs `perform`
STOCK = theano.Mode(linker="py", optimizer="fast_run").excluding("fastvae_onednn")  # compiles nothing


def functions(components, mode):
    """Nats and their gradient, of x, the decoder's outputs and the gradient of the nats."""
    x, outputs, g = (tt.tensor4(name, dtype="float32") for name in ("x", "outputs", "g"))
    nats = discretized_logistic.log_prob(x, outputs, components)
    gradient = theano.grad(tt.sum(nats * g), outputs)
    return theano.function([x, outputs, g], [nats, gradient], mode=mode)


@pytest.mark.parametrize("mode", [PYTHON, STOCK], ids=["perform", "stock"])
@pytest.mark.parametrize("components", [1, 3])
def test_perform_and_stock_against_a_complex_step(components, mode, close):
    rng = np.random.default_rng(5)
    x, outputs, g = logistic_oracle.drawn(rng, (2, 3, components, 4, 5), spread=2)
    function = functions(components, mode)
    nats, gradient = function(x, outputs, g)
    close(nats, logistic_oracle.log_prob(x, outputs, components).real)
    close(gradient, logistic_oracle.gradient(x, outputs, components, g))
    nodes = function.maker.fgraph.apply_nodes
    ours = [node for node in nodes if type(node.op).__module__.startswith("fastvae.backends")]
    assert len(ours) == (0 if mode is STOCK else 2)


def test_the_gradient_by_the_log_scale_ends_beyond_the_clip_as_theanos():
    log_scale = np.array([-7.001, -7, 6.999, 7, 7.001], "float32").reshape(5, 1, 1, 1)
    outputs, x = np.concatenate([np.zeros_like(log_scale), log_scale], axis=1), np.zeros((5, 1, 1, 1), "float32")
    _, gradient = functions(1, PYTHON)(x, outputs, np.ones_like(x))
    v = tt.fvector()
    clip = theano.grad(tt.clip(v, np.float32(-7), np.float32(7)).sum(), v)
    theanos = theano.function([v], clip, mode=PYTHON)(log_scale.ravel())
    assert theanos.tolist() == [0, 1, 1, 1, 0]
    np.testing.assert_array_equal(gradient[:, 1].ravel() != 0, theanos)
