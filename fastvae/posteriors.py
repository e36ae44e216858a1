"""Posteriors q(z | x): Normal per image, with independent latents or with a full covariance.

===================  ======================  ==========================================================
`MeanField`          ``mean-field``          z = mean + softplus(rho) * noise
`FullCovariance`     ``full-covariance``     z = mean + L noise, L lower triangular, its diagonal positive
===================  ======================  ==========================================================

The second output of `encode` is rho, (batch, n_latent), or L packed row by row as `numpy.tril_indices` orders it,
(batch, n_latent (n_latent + 1) / 2): what PyMC3 takes as ``dict(mu=, rho=)`` and ``dict(mu=, L_tril=)``. Which of the
two it is, is declared by the model's ``posterior=`` and never guessed from shapes.

Each lives in a file of its own in `fastvae.distributions`. `of_params` makes one from PyMC3's dict, `of_group` from a
PyMC3 group; `draw` and the functions after it are short for methods of what `of_params` returns.

One of your own is a subclass of `Posterior`, given to a model as an instance, ``posterior=Mine()``, or by name after
``FAMILIES[Mine.name] = Mine``, which `fastvae.load` needs too.

Examples
--------
>>> import theano, numpy as np, theano.tensor as tt
>>> packed = np.array([[1, 2, 3]], "float32")  # L = [[1, 0], [2, 3]]
>>> params = dict(mu=tt.zeros((1, 2), "float32"), L_tril=theano.shared(packed))
>>> draw(params, tt.constant(np.array([[1, 1]], "float32")), n_latent=2).eval()
array([[1., 5.]], dtype=float32)
"""

from __future__ import annotations

from typing import Any

import theano.tensor as tt
from pymc3.variational.opvi import Group

from fastvae import expressions, kinds, renamed
from fastvae.distributions.full_covariance_normal import FullCovariance
from fastvae.distributions.normal import MeanField
from fastvae.distributions.posterior import Distribution, Posterior, families, of_parameters, same_family
from fastvae.errors import ConfigurationError

__all__ = [
    *["FullCovariance", "MeanField", "Posterior", "make", "of_group", "of_latents", "of_params"],
    *["draw", "grad_log_q", "log_density", "log_scale", "variance"],
]

#: By the names that ``posterior=`` and parameter files have. A family of your own may be added.
FAMILIES: dict[str, type[Posterior]] = {family.name: family for family in (MeanField, FullCovariance)}


def _posterior(value: Any) -> Any:
    is_name = isinstance(value, str) and value in FAMILIES
    if not is_name and not (isinstance(value, Posterior) and isinstance(getattr(value, "name", None), str)):
        raise TypeError
    return value


#: What `make` takes.
POSTERIOR = kinds.Kind(
    "posterior",
    lambda: f"one of {', '.join(map(repr, FAMILIES))}, or an instance of a family of yours, which has a name",
    _posterior,
)


def _params(value: Any) -> Any:
    if not isinstance(value, dict) or of_parameters(value) is None:
        raise TypeError
    return value


PARAMS = kinds.Kind(
    "params",
    lambda: " or ".join("dict({}=mean, {}=spread)".format(*family.parameters) for family in families()),
    _params,
)


def local_rv_words() -> str:
    """What `local_rv=` takes, for an error message."""
    ways = ["{{latent: dict({0}=mean, {1}={1})}} for {2}".format(*f.parameters, f.name) for f in families()]
    return (
        f"what the encoder says of the latent variables; give a dict {' or '.join(ways)}; "
        "{latent: (mean, rho)} is short for the first"
    )


@renamed.arguments(name="posterior")
@kinds.checked(owner=kinds.text, posterior=kinds.anything)
def make(owner: str, posterior: str | Posterior) -> Posterior:
    """The posterior of the model `owner`.

    Parameters
    ----------
    owner : str
    posterior : str or Posterior
        A name of `FAMILIES`, or an instance, which need not be of a family there.

    Raises
    ------
    ConfigurationError
        If it is neither, or PyMC3 or a parameter file would take it for another family.

    Examples
    --------
    >>> make("MLPVAE", "full-covariance").n_spread(3)
    6
    """
    posterior = POSTERIOR.check(owner, "posterior", posterior)
    if isinstance(posterior, str):
        return FAMILIES[posterior]()
    what, family = f"{owner}: posterior={kinds.shown(posterior)}", type(posterior)
    if vars(posterior):
        raise ConfigurationError(
            f"{what} has {', '.join(vars(posterior))} of its own, which no parameter file keeps: make it an "
            "attribute of the class, with a class for each value"
        )
    if not same_family(FAMILIES.get(posterior.name, family), family):
        raise ConfigurationError(f"{what} has the name {posterior.name!r} of another family: give it one of its own")
    by_parameters = of_parameters(posterior.parameters)
    if by_parameters is None or by_parameters.distribution is not family.distribution:
        raise ConfigurationError(
            f"{what} has a distribution of its own and the parameters {posterior.parameters!r} of another family, by "
            "which PyMC3 tells families apart: give its class `parameters` of its own"
        )
    return posterior


@kinds.checked(params=PARAMS, n_latent=kinds.size)
def of_params(params: dict[str, tt.TensorVariable], n_latent: int) -> Distribution:
    """The distribution of latents whose parameters PyMC3 has in a dict.

    Parameters
    ----------
    params : dict
        ``dict(mu=, rho=)`` or ``dict(mu=, L_tril=)``: float32 expressions (batch, n_latent) and (batch, `n_spread`).
    n_latent : int

    Returns
    -------
    fastvae.distributions.posterior.Distribution

    Examples
    --------
    >>> q = of_params(dict(mu=tt.zeros((1, 2), "float32"), rho=tt.zeros((1, 2), "float32")), n_latent=2)
    >>> q.variance.eval().round(2)  # log(2)^2
    array([[0.48, 0.48]], dtype=float32)
    """
    family = of_parameters(params)()
    return family.distribution(*(params[name] for name in family.parameters), n_latent)


@kinds.checked(group=kinds.instance("group", "a group of variables of a PyMC3 approximation", Group))
def of_group(group: Group) -> Distribution | None:
    """The distribution of a PyMC3 group of variables, or None where PyMC3 has a family that is none here.

    Examples
    --------
    >>> import pymc3 as pm
    >>> with pm.Model():
    ...     w = pm.Normal("w", 0, 1, shape=2)
    ...     (group,) = pm.MeanField().groups
    >>> of_group(group).mean.eval()
    array([0., 0.], dtype=float32)
    """
    family = next((family for family in families() if type(group) is family.group), None)
    if family is None or not (group.local or family.takes_global and not group.batched):
        return None
    return of_params(group.params_dict, group.ddim)


@kinds.checked(local_rv=kinds.anything)
def of_latents(local_rv: dict | None) -> dict | None:
    """What the encoder says of each latent variable, as PyMC3 takes it.

    Parameters
    ----------
    local_rv : dict or None
        `{latent: dict(mu=mean, rho=rho)}`, `{latent: dict(mu=mean, L_tril=packed)}`, or, as PyMC3 once had it,
        `{latent: (mean, rho)}`.

    Returns
    -------
    dict or None
        With a dict for each latent.

    Raises
    ------
    ConfigurationError
        If it is none of these.

    Examples
    --------
    >>> of_latents({"z": ("mean", "rho")})
    {'z': {'mu': 'mean', 'rho': 'rho'}}
    """
    if local_rv is None:
        return None
    params = {}
    for latent, given in local_rv.items() if isinstance(local_rv, dict) else ():
        is_pair = isinstance(given, (tuple, list)) and len(given) == 2
        params[latent] = dict(zip(MeanField.parameters, given)) if is_pair else given
    if not isinstance(local_rv, dict) or not all(isinstance(given, dict) for given in params.values()):
        raise ConfigurationError(f"local_rv={kinds.shown(local_rv)} is not {local_rv_words()}")
    return params


@kinds.checked(params=PARAMS, noise=expressions.tensor, n_latent=kinds.size)
def draw(params: dict, noise: tt.TensorVariable, n_latent: int) -> tt.TensorVariable:
    """Draws of q by the reparameterisation that PyMC3 uses.

    Parameters
    ----------
    params : dict
        As for `of_params`.
    noise : float32 expression (..., batch, n_latent)
        Standard Normal.
    n_latent : int

    Returns
    -------
    float32 expression, the shape of `noise`
    """
    return of_params(params, n_latent).draw(noise)


@kinds.checked(params=PARAMS, noise=expressions.tensor, n_latent=kinds.size)
def log_density(params: dict, noise: tt.TensorVariable, n_latent: int) -> tt.TensorVariable:
    """log q of `draw(params, noise, n_latent)` in nats: that of the noise, less ``log |dz / dnoise|``.

    Parameters
    ----------
    params, noise, n_latent
        As for `draw`.

    Returns
    -------
    float32 expression (..., batch)

    Examples
    --------
    >>> import numpy as np
    >>> zeros = tt.zeros((1, 2), "float32")
    >>> packed = tt.constant(np.array([[1, 5, 1]], "float32"))
    >>> log_density(dict(mu=zeros, L_tril=packed), zeros, n_latent=2).eval().round(3)
    array([-1.838], dtype=float32)
    """
    return of_params(params, n_latent).log_density(noise)


@kinds.checked(params=PARAMS, noise=expressions.tensor, n_latent=kinds.size)
def grad_log_q(params: dict, noise: tt.TensorVariable, n_latent: int) -> tt.TensorVariable:
    """Gradient of log q with respect to the draw, at `draw(params, noise, n_latent)`, the parameters held.

    Parameters
    ----------
    params, noise, n_latent
        As for `draw`.

    Returns
    -------
    float32 expression, the shape of `noise`
        -L^-T noise for a full covariance L L^T.

    Examples
    --------
    >>> import numpy as np
    >>> params = dict(mu=tt.zeros((1, 2), "float32"), L_tril=tt.constant(np.array([[1, 3, 2]], "float32")))
    >>> grad_log_q(params, tt.constant(np.array([[5, 4]], "float32")), n_latent=2).eval()
    array([[ 1., -2.]], dtype=float32)
    """
    return of_params(params, n_latent).grad_log_q(noise)


@kinds.checked(params=PARAMS, n_latent=kinds.size)
def log_scale(params: dict, n_latent: int) -> tt.TensorVariable:
    """Logarithms of the factors of the noise, float32 (batch, n_latent): they add up to ``log |dz / dnoise|``."""
    return of_params(params, n_latent).log_scale


@kinds.checked(params=PARAMS, n_latent=kinds.size)
def variance(params: dict, n_latent: int) -> tt.TensorVariable:
    """Variance of each latent under q, float32 (batch, n_latent)."""
    return of_params(params, n_latent).variance


__getattr__ = renamed.names(__name__, gradient_by_draw="grad_log_q")
