"""Posteriors q(z | x): Normal per image, with independent latents or with a full covariance.

===================  ======================  ==========================================================
`MeanField`          ``mean-field``          z = mean + softplus(rho) * noise
`FullCovariance`     ``full-covariance``     z = mean + L noise, L lower triangular, its diagonal positive
===================  ======================  ==========================================================

The second output of `encode` is rho, (batch, n_latent), or L packed row by row as `numpy.tril_indices` orders it,
(batch, n_latent (n_latent + 1) / 2): what PyMC3 takes as ``dict(mu=, rho=)`` and ``dict(mu=, L_tril=)``. Which of the
two it is, is declared by the model's ``posterior=`` and never guessed from shapes.

`draw` and `log_density` are both families in Theano, one number a datum. No node of them runs in Python: L is never
unpacked, its products are sums of packed entries, taken by constant matrices of zeros and ones.

Examples
--------
>>> import theano
>>> packed = np.array([[1, 2, 3]], "float32")  # L = [[1, 0], [2, 3]]
>>> params = dict(mu=tt.zeros((1, 2), "float32"), L_tril=theano.shared(packed))
>>> draw(params, tt.constant(np.array([[1, 1]], "float32")), n_latent=2).eval()
array([[1., 5.]], dtype=float32)
"""

import math

import numpy as np
import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.errors import ConfigurationError


def _params(value):
    if not isinstance(value, dict) or not {"rho", "L_tril"} & value.keys():
        raise TypeError
    return value


PARAMS = kinds.Kind("params", "dict(mu=mean, rho=rho) or dict(mu=mean, L_tril=rows)", _params)
HALF_LOG_2PI = np.float32(0.5 * math.log(2 * math.pi))


class MeanField:
    """Independent latents: `encode` returns (mean, rho), the standard deviations are softplus(rho).

    Examples
    --------
    >>> MeanField().covariance(np.full((1, 2), -2.0)).round(3)
    array([[[0.016, 0.   ],
            [0.   , 0.016]]])
    """

    name = "mean-field"

    @kinds.checked(n_latent=kinds.size)
    def n_spread(self, n_latent):
        """Columns of the second output of `encode`."""
        return n_latent

    @kinds.checked(raw=expressions.tensor, n_latent=kinds.size)
    def spread(self, raw, n_latent):
        """The second output of `encode` from the network's unbounded one: itself."""
        return raw

    @kinds.checked(mean=expressions.tensor, spread=expressions.tensor)
    def params(self, mean, spread):
        """The outputs of `encode` as a value of PyMC3's `local_rv`."""
        return dict(mu=mean, rho=spread)

    @kinds.checked(spread=expressions.tensor)
    def covariance(self, spread):
        """Covariances (N, n_latent, n_latent) as an array, from an array of the second output of `encode`."""
        sd = np.logaddexp(0, spread)
        return np.square(sd)[:, :, None] * np.eye(sd.shape[1], dtype=sd.dtype)


class FullCovariance:
    """Correlated latents: `encode` returns (mean, L), the covariance of an image is L L^T.

    Examples
    --------
    >>> FullCovariance().covariance(np.array([[1.0, 2.0, 3.0]]))
    array([[[ 1.,  2.],
            [ 2., 13.]]])
    """

    name = "full-covariance"

    @kinds.checked(n_latent=kinds.size)
    def n_spread(self, n_latent):
        """Columns of the second output of `encode`."""
        return n_latent * (n_latent + 1) // 2

    @kinds.checked(raw=expressions.tensor, n_latent=kinds.size)
    def spread(self, raw, n_latent):
        """The packed L, float32 (batch, n_latent (n_latent + 1) / 2): `raw` with softplus on the diagonal's entries."""
        rows, columns = np.tril_indices(n_latent)
        return tt.switch(tt.constant((rows == columns)[None]), tt.nnet.softplus(raw), raw)

    @kinds.checked(mean=expressions.tensor, spread=expressions.tensor)
    def params(self, mean, spread):
        """The outputs of `encode` as a value of PyMC3's `local_rv`."""
        return dict(mu=mean, L_tril=spread)

    @kinds.checked(spread=expressions.tensor)
    def covariance(self, spread):
        """Covariances (N, n_latent, n_latent) as an array, from an array of the second output of `encode`."""
        n_latent = (math.isqrt(8 * spread.shape[1] + 1) - 1) // 2
        lower = np.zeros((len(spread), n_latent, n_latent), spread.dtype)
        lower[(slice(None), *np.tril_indices(n_latent))] = spread
        return lower @ lower.swapaxes(1, 2)


FAMILIES = {family.name: family for family in (MeanField, FullCovariance)}
POSTERIOR = kinds.choice(*FAMILIES)


@kinds.checked(owner=kinds.text, name=kinds.anything)
def make(owner, name):
    """The posterior called `name`, for the model `owner`.

    Raises
    ------
    ConfigurationError
        If there is none of that name.

    Examples
    --------
    >>> make("MLPVAE", "full-covariance").n_spread(3)
    6
    """
    return FAMILIES[POSTERIOR.check(owner, "posterior", name)]()


@kinds.checked(local_rv=kinds.anything)
def of_latents(local_rv):
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
        params[latent] = dict(zip(("mu", "rho"), given)) if is_pair else given
    if not isinstance(local_rv, dict) or not all(isinstance(given, dict) for given in params.values()):
        raise ConfigurationError(
            f"local_rv={local_rv!r} is not what the encoder says of the latent variables; give a dict "
            "{latent: dict(mu=mean, rho=rho)} or {latent: (mean, rho)}; dict(mu=mean, L_tril=rows) for a full "
            "covariance"
        )
    return params


@kinds.checked(params=PARAMS, noise=expressions.tensor, n_latent=kinds.size)
def draw(params, noise, n_latent):
    """Draws of q by the reparameterisation that PyMC3 uses.

    Parameters
    ----------
    params : dict
        ``dict(mu=, rho=)`` or ``dict(mu=, L_tril=)``: float32 expressions (batch, n_latent) and (batch, `n_spread`).
    noise : float32 expression (..., batch, n_latent)
        Standard Normal.
    n_latent : int

    Returns
    -------
    float32 expression, the shape of `noise`
    """
    if "rho" in params:
        return tt.nnet.softplus(params["rho"]) * noise + params["mu"]
    column, row, _ = _packing(n_latent)
    return tt.dot(params["L_tril"] * tt.dot(noise, column.T), row) + params["mu"]


@kinds.checked(params=PARAMS, noise=expressions.tensor, n_latent=kinds.size)
def log_density(params, noise, n_latent):
    """log q of `draw(params, noise, n_latent)` in nats: that of the noise, less log |dz / dnoise|.

    Parameters
    ----------
    params, noise, n_latent
        As for `draw`.

    Returns
    -------
    float32 expression (..., batch)

    Examples
    --------
    >>> zeros = tt.zeros((1, 2), "float32")
    >>> packed = tt.constant(np.array([[1, 5, 1]], "float32"))
    >>> log_density(dict(mu=zeros, L_tril=packed), zeros, n_latent=2).eval().round(3)
    array([-1.838], dtype=float32)
    """
    return (np.float32(-0.5) * tt.sqr(noise) - HALF_LOG_2PI - log_scale(params, n_latent)).sum(axis=-1)


@kinds.checked(params=PARAMS, noise=expressions.tensor, n_latent=kinds.size)
def gradient_by_draw(params, noise, n_latent):
    """The gradient of log q at `draw(params, noise, n_latent)` by the draw, the parameters held: -L^-T noise.

    For a full covariance L^T y = noise is solved from the last latent to the first.

    Parameters
    ----------
    params, noise, n_latent
        As for `draw`.

    Returns
    -------
    float32 expression, the shape of `noise`

    Examples
    --------
    >>> params = dict(mu=tt.zeros((1, 2), "float32"), L_tril=tt.constant(np.array([[1, 3, 2]], "float32")))
    >>> gradient_by_draw(params, tt.constant(np.array([[5, 4]], "float32")), n_latent=2).eval()
    array([[ 1., -2.]], dtype=float32)
    """
    if "rho" in params:
        return -noise / tt.nnet.softplus(params["rho"])
    rest, solution = noise, []
    for i in reversed(range(n_latent)):
        start = i * (i + 1) // 2
        row = params["L_tril"][:, start : start + i]
        solution.insert(0, rest[..., i] / params["L_tril"][:, start + i])
        rest = rest[..., :i] - tt.shape_padright(solution[0]) * row
    return -tt.stack(solution, axis=-1)


@kinds.checked(params=PARAMS, n_latent=kinds.size)
def log_scale(params, n_latent):
    """Logarithms of the factors of the noise, float32 (batch, n_latent): they add up to log |dz / dnoise|."""
    if "rho" in params:
        return tt.log(tt.nnet.softplus(params["rho"]))
    return tt.log(abs(tt.dot(params["L_tril"], _packing(n_latent)[2])))


@kinds.checked(params=PARAMS, n_latent=kinds.size)
def variance(params, n_latent):
    """Variance of each latent under q, float32 (batch, n_latent)."""
    if "rho" in params:
        return tt.sqr(tt.nnet.softplus(params["rho"]))
    return tt.dot(tt.sqr(params["L_tril"]), _packing(n_latent)[1])


def _packing(n_latent):
    """Float32 zeros and ones (packed entries, n_latent): the column and the row of each entry, and the diagonal's."""
    rows, columns = np.tril_indices(n_latent)
    identity = np.eye(n_latent, dtype=np.float32)
    return identity[columns], identity[rows], identity[rows] * (rows == columns)[:, None]
