"""Closed forms of a PyMC3 approximation: expectations that give the KL of a variable's posterior to its Normal prior.

KL(q, p) = E_q log q - E_q log p. The first is the posterior family's own (`fastvae.posteriors.of_group`), the second is
that of a Normal prior p = Normal(mu, sd) at a variable with q's mean and variance. `mu` and `sd` may themselves depend
on other random variables, which q holds independent of this one.
"""

from __future__ import annotations

import pymc3 as pm
import theano.tensor as tt
from pymc3.model import FreeRV
from pymc3.variational.opvi import Group

from fastvae import posteriors
from fastvae.distributions.normal import DiagonalNormal


def has_closed_form(group: Group, variable: FreeRV) -> bool:
    """Whether the KL of a group's variable to its prior is a closed form: a Normal prior, and a family that has one."""
    q = posteriors.of_group(group)
    return q is not None and q.has_closed_forms and type(variable.distribution) is pm.Normal


def entries(group: Group, variable: FreeRV) -> slice:
    """Where the variable lies in the last axis of the group's draws and of its log q."""
    return group.ordering[variable.name].slc


def expected_log_prior(group: Group, variable: FreeRV) -> tt.TensorVariable:
    """Expectation of the log density of the variable's Normal prior, by entry, in the variable's shape.

    Examples
    --------
    >>> with pm.Model() as model:
    ...     z = pm.Normal("z", mu=1, sigma=2)
    ...     (group,) = pm.MeanField().groups  # starts at mean 1 and sd softplus(0) = log 2
    >>> round(float(expected_log_prior(group, z).eval()), 4)  # -log(2)^2 / 8 - log 2 - log(2 pi) / 2
    -1.6721
    """
    q, place = posteriors.of_group(group), group.ordering[variable.name]
    mean, variance = (flat[..., place.slc].reshape(place.shp) for flat in (q.mean, q.variance))
    prior = DiagonalNormal(variable.distribution.mu, variable.distribution.sigma)
    return prior.expected_log_prob(mean, variance)
