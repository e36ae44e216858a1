"""The expectations in closed form against Gauss-Hermite quadrature, and for which pairs there are any."""

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats
import theano
import theano.tensor as tt

from fastvae import posteriors
from fastvae.elbo import closed_form
from tests.linear_gaussian import QUICK
from tests.on_devices import on_every_device

B, D = 2, 2
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)  # of exp(-x**2 / 2)


def expectation(function, mean, sd):
    """That of function(z) for z ~ Normal(mean, sd), entry by entry."""
    z = np.asarray(mean)[..., None] + np.asarray(sd)[..., None] * NODES
    return (function(z) * WEIGHTS).sum(-1) / WEIGHTS.sum()


MEAN = np.array([[0.3, -1.2], [0.8, 0.1]], "float32")
RHO = np.array([[-0.5, 0.4], [1.0, -2.0]], "float32")
PACKED = np.array([[0.9, 0.3, 0.7], [1.2, -0.4, -0.5]], "float32")  # a negative diagonal entry is admissible
POSTERIORS = {
    "rho": (RHO, np.log1p(np.exp(RHO)), np.log1p(np.exp(RHO))),
    "L_tril": (PACKED, np.sqrt(np.stack([PACKED[:, 0] ** 2, PACKED[:, 1] ** 2 + PACKED[:, 2] ** 2], 1)),
               np.abs(PACKED[:, [0, 2]])),
}  # fmt: skip


def local_group(**spread):
    """The group of zs ~ Normal(0.5, 2), with a posterior of each row."""
    with pm.Model() as model:
        zs = pm.Normal("zs", 0.5, 2, shape=(B, D), dtype="float32", total_size=20)
        pm.Normal("xs", zs, 1, observed=np.zeros((B, D), "float32"), total_size=20)
    params = {name: theano.shared(value) for name, value in spread.items()}
    (group,) = pm.ADVI(model=model, local_rv={zs: dict(mu=theano.shared(MEAN), **params)}).approx.groups
    return group, zs


@on_every_device
@pytest.mark.parametrize("name", POSTERIORS)
def test_expectations_are_those_of_quadrature(name):
    spread, sd, scale = POSTERIORS[name]
    group, zs = local_group(**{name: spread})
    assert closed_form.has_closed_form(group, zs)
    values = [closed_form.expected_log_prior(group, zs), posteriors.of_group(group).expected_log_q()]
    log_prior, log_q = theano.function([], values, mode=QUICK)()
    assert log_prior.dtype == log_q.dtype == "float32"
    np.testing.assert_allclose(log_prior, expectation(scipy.stats.norm(0.5, 2).logpdf, MEAN, sd), rtol=1e-5)
    # log q of a draw is that of its noise less log |L_ii|
    of_noise = expectation(scipy.stats.norm.logpdf, np.zeros((B, D)), np.ones((B, D)))
    np.testing.assert_allclose(log_q, of_noise - np.log(scale), rtol=1e-5)


@on_every_device
@pytest.mark.parametrize("name", POSTERIORS)
def test_log_q_and_its_gradient_with_respect_to_the_draw(name):
    spread, _, scale = POSTERIORS[name]
    group, _ = local_group(**{name: spread})
    noise = np.random.default_rng(2).standard_normal((3, B, D)).astype("float32")
    q = posteriors.of_group(group)
    values = [q.log_q(group.symbolic_initial), q.grad_log_q(group.symbolic_initial)]
    log_q, gradient = theano.function([group.symbolic_initial], values, mode=QUICK)(noise)
    np.testing.assert_allclose(log_q, scipy.stats.norm.logpdf(noise) - np.log(scale), rtol=1e-4, atol=1e-5)
    factors = np.zeros((B, D, D))
    if name == "rho":
        factors[:, [0, 1], [0, 1]] = scale
    else:
        factors[(slice(None), *np.tril_indices(D))] = PACKED
    expected = -np.einsum("bji,sbj->sbi", np.linalg.inv(factors), noise)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


@on_every_device
def test_each_variable_has_its_entries_and_its_prior_may_depend_on_another():
    with pm.Model() as model:
        a = pm.Normal("a", 0, 1, shape=2)
        b = pm.Normal("b", a.sum(), 3)
        pm.HalfNormal("positive", 1)
    (group,) = pm.MeanField(model=model).groups
    taken = np.zeros(4, int)
    for variable in group.group:
        taken[closed_form.entries(group, variable)] += 1
    assert (taken == 1).all()
    assert closed_form.has_closed_form(group, a) and closed_form.has_closed_form(group, b)
    (transformed,) = set(group.group) - {a, b}
    assert transformed.name == "positive_log__" and not closed_form.has_closed_form(group, transformed)
    at = np.array([0.2, -0.7], "float32")
    value = theano.clone(closed_form.expected_log_prior(group, b), {a: tt.constant(at)})
    sd = np.log(2)  # softplus(0), where PyMC3 starts
    expected = expectation(scipy.stats.norm(at.sum(), 3).logpdf, np.zeros(1), np.full(1, sd))
    mean = group.params_dict["mu"].get_value()[closed_form.entries(group, b)]
    assert mean == 0
    np.testing.assert_allclose(theano.function([], value, mode=QUICK)(), expected[0], rtol=1e-5)


def test_a_full_rank_group_of_global_variables_has_none():
    with pm.Model() as model:
        w = pm.Normal("w", 0, 1, shape=2)
    (group,) = pm.FullRankADVI(model=model).approx.groups
    assert posteriors.of_group(group) is None and not closed_form.has_closed_form(group, w)
