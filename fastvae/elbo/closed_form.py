"""Normal posteriors: log q of a draw, and the expectations that give the KL to a Normal prior in closed form.

For q = Normal(mean, L L'), z = mean + L eps, eps ~ Normal(0, 1), with L diagonal for a mean-field group, and the prior
p = Normal(mu, sd), the sums over the latent's entries i of

    log q(z)     -eps_i^2 / 2 - log L_ii - log(2 pi) / 2
    E_q log q    -1 / 2 - log L_ii - log(2 pi) / 2
    E_q log p    -((L L')_ii + (mean_i - mu_i)^2) / (2 sd_i^2) - log sd_i - log(2 pi) / 2

make KL(q, p) = E_q log q - E_q log p. `mu` and `sd` may themselves depend on other random variables, which q holds
independent of this one.
"""

import numpy as np
import pymc3 as pm
import theano.tensor as tt
from pymc3.variational.approximations import FullRankGroup, MeanFieldGroup

from fastvae import posteriors

HALF_LOG_2PI = np.float32(0.5 * np.log(2 * np.pi))


def is_normal(group):
    """Whether `log_q` knows the group: mean-field, or full covariance of a local variable."""
    if type(group) is MeanFieldGroup:
        return group.local == group.batched
    return type(group) is FullRankGroup and group.local


def has_closed_form(group, variable):
    """Whether the KL of a group's variable to its prior is a closed form: a Normal in a Normal group."""
    return is_normal(group) and type(variable.distribution) is pm.Normal


def log_q(group):
    """Log density of the group's draws, by entry: (samples, [batch,] size)."""
    return pm.Normal.dist().logp(group.symbolic_initial) - _log_diagonal(group)


def gradient_by_draw(group):
    """Gradient of a group's log q by its draws, the posterior's parameters held: (samples, batch, size)."""
    return posteriors.gradient_by_draw(group.params_dict, group.symbolic_initial, group.ddim)


def expected_log_q(group):
    """Expectation of `log_q`, by entry: ([batch,] size)."""
    return -np.float32(0.5) - HALF_LOG_2PI - _log_diagonal(group)


def entries(group, variable):
    """Where the variable lies in the last axis of `log_q`, as a slice."""
    return group.ordering[variable.name].slc


def expected_log_prior(group, variable):
    """Expectation of the log density of the variable's Normal prior, by entry, in the variable's shape.

    Examples
    --------
    >>> with pm.Model() as model:
    ...     z = pm.Normal("z", mu=1, sigma=2)
    ...     (group,) = pm.MeanField().groups  # starts at mean 1 and sd softplus(0) = log 2
    >>> round(float(expected_log_prior(group, z).eval()), 4)  # -log(2)^2 / 8 - log 2 - log(2 pi) / 2
    -1.6721
    """
    mean, variance = (_as(group, variable, moment) for moment in (group.mean, _variance(group)))
    mu, sd = variable.distribution.mu, variable.distribution.sigma
    half_square = np.float32(0.5) * (variance + (mean - mu) ** 2) / sd**2
    return -half_square - tt.log(sd) - HALF_LOG_2PI


def _as(group, variable, flat):
    place = group.ordering[variable.name]
    return flat[..., place.slc].reshape(place.shp)


def _variance(group):
    return posteriors.variance(group.params_dict, group.ddim)


def _log_diagonal(group):
    return posteriors.log_scale(group.params_dict, group.ddim)
