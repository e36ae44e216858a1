import functools

import pytest
import theano
import theano.tensor as tt

import fastvae
from tests.distributions.cases import CASES


@pytest.fixture(scope="session")
def functions():
    """name of a case -> log-density, gradient of its sum with respect to the output, mean image: compiled once."""

    @functools.cache
    def compiled(name):
        likelihood, _ = CASES[name]
        x, output = tt.tensor4("x", dtype="float32"), tt.tensor4("output", dtype="float32")
        nats = likelihood.log_prob(x, output)
        results = [nats, tt.grad(nats.sum(), output), likelihood.mean(output)]
        return theano.function([x, output], results, on_unused_input="ignore")

    return compiled


@pytest.fixture(scope="session")
def images():
    return fastvae.datasets.load("fashion-mnist-sample")[:8, :, 8:18, 8:18].copy()
