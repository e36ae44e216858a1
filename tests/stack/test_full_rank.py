"""The full-rank Normal of each row: draws and density of the textbook. Groups of global variables stay PyMC3's."""

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats
import theano

from tests.conftest import runs_in_python

B, D = 4, 3


@pytest.fixture(scope="module")
def local():
    """A group of local variables, its means and factors, and noise for it."""
    rng = np.random.default_rng(0)
    mean, packed = rng.normal(size=(B, D)).astype("float32"), rng.uniform(0.5, 2, (B, 6)).astype("float32")
    with pm.Model() as model:
        zs = pm.Normal("zs", 0, 1, shape=(B, D), dtype="float32", total_size=20)
        pm.Normal("xs", zs, 1, observed=np.zeros((B, D), "float32"), total_size=20)
    params = dict(mu=theano.shared(mean), L_tril=theano.shared(packed))
    (group,) = pm.ADVI(model=model, local_rv={zs: params}).approx.groups
    factors = np.zeros((B, D, D))
    factors[(slice(None), *np.tril_indices(D))] = packed
    return group, mean, factors, rng.standard_normal((2, B, D)).astype("float32")


def test_draws_and_density_of_each_row(local):
    group, mean, factors, noise = local
    function = theano.function([group.symbolic_initial], [group.symbolic_random, group.symbolic_logq_not_scaled])
    assert not runs_in_python(function)
    z, log_q = function(noise)
    np.testing.assert_allclose(z, mean + np.einsum("bij,sbj->sbi", factors, noise), rtol=1e-5, atol=1e-6)
    normals = [scipy.stats.multivariate_normal(m, factor @ factor.T) for m, factor in zip(mean, factors)]
    expected = [sum(normal.logpdf(z[s, b]) for b, normal in enumerate(normals)) for s in range(2)]
    np.testing.assert_allclose(log_q, expected, rtol=1e-4)


def test_a_group_of_global_variables_has_stocks_density():
    with pm.Model() as model:
        pm.Normal("w", 0, 1, shape=D)
    (group,) = pm.FullRankADVI(model=model).approx.groups
    packed = np.array([0.9, 0.3, 0.7, -0.2, 0.4, 1.1], "float32")
    group.params_dict["L_tril"].set_value(packed)
    noise = np.random.default_rng(1).standard_normal((2, D)).astype("float32")
    z, log_q = theano.function([group.symbolic_initial], [group.symbolic_random, group.symbolic_logq_not_scaled])(noise)
    factor = np.zeros((D, D))
    factor[np.tril_indices(D)] = packed
    np.testing.assert_allclose(z, noise @ factor.T, rtol=1e-5, atol=1e-6)
    expected = scipy.stats.multivariate_normal(np.zeros(D), factor @ factor.T).logpdf(z)
    np.testing.assert_allclose(log_q, expected, rtol=1e-4)
