import numpy as np
import pytest
import scipy.stats

from fastvae import nn
from fastvae.errors import ConfigurationError

SHAPE = (200, 100)


def drawn(initialiser, seed=0):
    return initialiser(SHAPE, 200, 100, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "initialiser, distribution",
    [
        (nn.glorot_uniform, scipy.stats.uniform(-np.sqrt(6 / 300), 2 * np.sqrt(6 / 300))),
        (nn.he_normal, scipy.stats.norm(0, np.sqrt(2 / 200))),
        (nn.normal(0.3), scipy.stats.norm(0, 0.3)),
    ],
)
def test_random_ones_follow_their_distribution(initialiser, distribution):
    values = drawn(initialiser)
    assert values.dtype == np.float32 and values.shape == SHAPE
    assert scipy.stats.kstest(values.ravel().astype(float), distribution.cdf).pvalue > 0.001
    assert np.array_equal(values, drawn(initialiser)) and not np.array_equal(values, drawn(initialiser, seed=1))


def test_constants():
    assert np.array_equal(drawn(nn.zeros), np.zeros(SHAPE)) and drawn(nn.zeros).dtype == np.float32
    assert np.array_equal(drawn(nn.constant(0.25)), np.full(SHAPE, 0.25)) and drawn(nn.constant(1)).dtype == np.float32


@pytest.mark.parametrize("sd", [0, -1, np.nan, np.inf, "1", None, True])
def test_normal_checks_sd(sd):
    with pytest.raises(ConfigurationError, match="normal: sd="):
        nn.normal(sd)


@pytest.mark.parametrize("value", [np.nan, np.inf, "1", None])
def test_constant_checks_value(value):
    with pytest.raises(ConfigurationError, match="constant: value="):
        nn.constant(value)
