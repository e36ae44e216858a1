"""Bounds on log p(x) of images that an amortised model was not trained on, by importance sampling.

With log weights w_i = log p(x, z_i) - log q(z_i | x), z_i ~ q(z | x), of one image

    ELBO      the mean of the w_i
    IWAE-k    log (1/k sum_{i<=k} exp w_i), averaged over repetitions
    log p(x)  the same with a large k, which it reaches from below as k grows

(Burda, Grosse, Salakhutdinov, 2016, arXiv:1509.00519, eq. 8). Sums of exponentials are kept as running logarithms,
image batch by image batch, so that memory depends on neither k nor the number of images.

The model is a `fastvae.VAE`, or a `pymc3.Model` with the `local_rv` that `pm.fit` takes, its data a dict from the
model's inputs to arrays. Observed and local variables have the datum as their first axis; a log-density is summed over
the other axes, and `total_size` plays no part. Networks are taken in evaluation form (`fastvae.nn.for_evaluation`).

Examples
--------
>>> import fastvae
>>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, likelihood="bernoulli", seed=0)
>>> images = np.random.default_rng(0).random((20, 1, 4, 4))
>>> lower, upper = elbo(vae, images, n_samples=20, seed=1), log_likelihood(vae, images, n_samples=200, seed=1)
>>> lower.nats < upper.nats
True
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from pymc3.util import get_transformed
from theano.configparser import change_flags

from fastvae import kinds, posteriors
from fastvae.arguments import RNG, generator
from fastvae.compilation import InTurn
from fastvae.datasets.validation import in_type
from fastvae.elbo import vae_model
from fastvae.elbo.evaluating import in_evaluation
from fastvae.errors import ConfigurationError, DataError


class Estimate(NamedTuple):
    """An average over images, in nats per image."""

    nats: float
    standard_error: float  #: of `nats` as an estimate for all images like these: the images' spread / sqrt(N)
    monte_carlo_error: float  #: of `nats` as an estimate for these very images; NaN from a single draw an image
    per_image: np.ndarray  #: float64 (N,)


def _model(value):
    if not isinstance(value, pm.Model) and (isinstance(value, type) or not hasattr(value, "checked_images")):
        raise TypeError
    return value


#: What all functions of this module take.
KINDS = dict(
    model=kinds.Kind("model", "a fastvae.VAE or a pymc3.Model", _model),
    data=kinds.anything,
    k=kinds.integer(),
    n_samples=kinds.integer(),
    seed=RNG,
    local_rv=kinds.optional(kinds.dictionary(posteriors.local_rv_words)),
    batch_size=kinds.size,
)


@kinds.checked(**KINDS)
def elbo(
    model: Any,
    data: Any,
    n_samples: int = 1,
    seed: int | np.random.Generator | None = None,
    *,
    local_rv: dict | None = None,
    batch_size: int = 100,
) -> Estimate:
    """The evidence lower bound of held-out images.

    Parameters
    ----------
    model : fastvae.VAE or pymc3.Model
    data : array or dict
        Images, (N, C, H, W), as `fastvae.datasets.as_images` takes them. For a `pymc3.Model` a dict from each of
        its symbolic inputs to an array whose rows are the data, of the input's type up to the precision of floats.
    n_samples : int
        Draws of the latents for each image.
    seed : int or numpy.random.Generator, optional
        Of the draws, and of the binarisation for a Bernoulli likelihood; by default fresh entropy. The same seed
        binarises the same way in all functions of this module.
    local_rv : dict, optional
        For a `pymc3.Model`, as `fastvae.fit` takes it.
    batch_size : int
        Images at a time. A `pymc3.Model` is given batches of its own size, the last one filled up.

    Returns
    -------
    Estimate

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain, or the model has a random variable without an amortised posterior, or a
        potential.
    DataError
        If the data do not fit the model.

    Examples
    --------
    >>> import fastvae
    >>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
    >>> elbo(vae, np.zeros((7, 1, 4, 4)), n_samples=3, seed=1).per_image.shape
    (7,)
    """
    return _estimate("elbo", model, data, 1, n_samples, seed, local_rv, batch_size)


@kinds.checked(**KINDS)
def iwae_bound(
    model: Any,
    data: Any,
    k: int,
    n_samples: int = 1,
    seed: int | np.random.Generator | None = None,
    *,
    local_rv: dict | None = None,
    batch_size: int = 100,
) -> Estimate:
    """The importance-weighted bound of k draws, averaged over `n_samples` repetitions for each image.

    Parameters
    ----------
    model, data
        As for `elbo`.
    k : int
        Draws inside the logarithm: 1 is the ELBO, and a larger k a tighter bound.
    n_samples, seed, local_rv, batch_size
        As for `elbo`.

    Returns
    -------
    Estimate

    Raises
    ------
    ConfigurationError, DataError
        As for `elbo`.

    Examples
    --------
    >>> import fastvae
    >>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
    >>> bound = iwae_bound(vae, np.zeros((7, 1, 4, 4)), k=50, seed=1)
    >>> bool(bound.nats > elbo(vae, np.zeros((7, 1, 4, 4)), seed=1).nats)
    True
    """
    return _estimate("iwae_bound", model, data, k, n_samples, seed, local_rv, batch_size)


@kinds.checked(**KINDS)
def log_likelihood(
    model: Any,
    data: Any,
    n_samples: int = 5000,
    seed: int | np.random.Generator | None = None,
    *,
    local_rv: dict | None = None,
    batch_size: int = 100,
) -> Estimate:
    """log p(x) by importance sampling with the posterior as proposal: below it on average, and closer as n grows.

    Parameters
    ----------
    model, data
        As for `elbo`.
    n_samples : int
        Importance samples for each image; 5,000 as in Burda et al.
    seed, local_rv, batch_size
        As for `elbo`.

    Returns
    -------
    Estimate
        Its Monte Carlo error is that of the mean weight, carried through the logarithm to first order: it is too small
        where a few weights dominate.

    Raises
    ------
    ConfigurationError, DataError
        As for `elbo`.

    Notes
    -----
    Not for latents of hundreds of dimensions or a posterior far from the true one: the weights then have so heavy a
    tail that even many samples stay well below log p(x). Compare the results of two numbers of samples to find out.

    Examples
    --------
    >>> import fastvae
    >>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
    >>> log_likelihood(vae, np.zeros((7, 1, 4, 4)), n_samples=50, seed=1).per_image.shape
    (7,)
    """
    return _estimate("log_likelihood", model, data, n_samples, 1, seed, local_rv, batch_size)


@kinds.checked(**KINDS)
def latent_draws(
    model: Any,
    data: Any,
    n_samples: int,
    seed: int | np.random.Generator | None = None,
    *,
    local_rv: dict | None = None,
    batch_size: int = 100,
) -> dict[str, np.ndarray]:
    """Draws of the latents given images, by name of the variable: float32 (n_samples, N, ...) each.

    Parameters
    ----------
    model, data, n_samples, seed, local_rv, batch_size
        As for `elbo`.

    Raises
    ------
    ConfigurationError, DataError
        As for `elbo`.
    """
    owner = "latent_draws"
    amortised, arrays, batch_size = _prepared(owner, model, data, seed, local_rv, batch_size)
    rng = generator(owner, seed)
    batches = []
    for batch, count in _batches(arrays, batch_size):
        params = amortised.encode(*batch)
        drawn = [amortised.draw(*params, *amortised.noise(rng, len(batch[0]))) for _ in range(n_samples)]
        batches.append([np.stack(draws)[:, :count] for draws in zip(*drawn)])
    return {name: np.concatenate(parts, axis=1) for name, parts in zip(amortised.names, zip(*batches))}


class Amortised:
    """The compiled functions of a model whose random variables all have a posterior given the data.

    Parameters
    ----------
    model : pymc3.Model
    local_rv : dict
        As `pm.fit` takes it.
    inputs : list of theano variables
        Symbolic data, in the order in which `encode` and `log_weights` take them.

    Attributes
    ----------
    names : list of str
        Of the latents.
    encode : callable
        (*data) -> parameters of the posteriors.
    log_weights : callable
        (*data, *parameters, *noise) -> log p(x, z) - log q(z | x), float32 (batch,).
    draw : callable
        (*parameters, *noise) -> the latents in their own domains, not in PyMC3's transformed one.
    """

    @change_flags(compute_test_value="off")
    def __init__(self, model: pm.Model, local_rv: dict, inputs: list) -> None:
        local_rv = posteriors.of_latents(local_rv)
        written = list(local_rv)
        self.names = [variable.name for variable in written]
        local_rv = {get_transformed(variable): params for variable, params in local_rv.items()}
        others = [variable.name for variable in model.free_RVs if variable not in local_rv]
        if others or model.potentials:
            what = f"random variables {others} without a posterior in local_rv" if others else "potentials"
            raise ConfigurationError(
                f"the model has {what}: log p(x) can be estimated where every random variable belongs to a datum and "
                "is in local_rv; fix the others at their posterior means first"
            )
        self.batch_size = int(next(iter(local_rv)).dshape[0])
        self._sizes = [int(np.prod(variable.dshape[1:])) for variable in local_rv]
        encoded, stand_ins, noises, latents, log_q = [], [], [], {}, []
        for (variable, params), size in zip(local_rv.items(), self._sizes):
            stand_in = {name: tt.matrix(name, dtype="float32") for name in params}
            noise = tt.matrix("noise", dtype="float32")
            encoded += [tt.as_tensor_variable(params[name]).flatten(2) for name in stand_in]
            stand_ins += stand_in.values()
            noises.append(noise)
            q = posteriors.of_params(stand_in, size)
            z = q.draw(noise).reshape((noise.shape[0], *variable.dshape[1:]))
            latents[variable] = tt.patternbroadcast(z, variable.broadcastable)
            log_q.append(q.log_density(noise))
        terms = [_per_datum(variable) for variable in model.basic_RVs]
        log_joint = theano.clone(sum(terms[1:], terms[0]), latents)
        log_weights = log_joint - sum(log_q[1:], log_q[0])
        self.encode = _function(inputs, encoded)
        self.log_weights = _function([*inputs, *stand_ins, *noises], log_weights)
        self.draw = _function([*stand_ins, *noises], theano.clone(written, latents))

    def noise(self, rng: np.random.Generator, n: int) -> list[np.ndarray]:
        """Standard Normal noise for n data, in the order of `log_weights`."""
        return [rng.standard_normal((n, size), dtype=np.float32) for size in self._sizes]


def of_vae(vae: Any) -> Amortised:
    """The compiled functions of a `fastvae.VAE`, for batches of any size."""
    model, local_rv, xs = vae_model(vae, batch_size=2, total_size=2)
    return Amortised(model, local_rv, [xs])


def _per_datum(variable):
    log_density = variable.logp_elemwiset
    if log_density.ndim == 0:
        raise ConfigurationError(
            f"the log-density of {variable.name!r} is one number for all data, and log p(x) is estimated datum by "
            "datum: give the variable the data as its first axis"
        )
    return log_density.sum(axis=tuple(range(1, log_density.ndim))) if log_density.ndim > 1 else log_density


def _function(inputs, outputs):
    return InTurn(theano.function(inputs, in_evaluation(outputs, inputs), on_unused_input="ignore"))


def _prepared(owner, model, data, seed, local_rv, batch_size):
    """The model's functions, its data as a list of arrays, and the size of a batch."""
    if not isinstance(model, pm.Model):
        images = model.checked_images(data, owner)
        images = model.likelihood.as_data(images, seed)
        return model.amortised, [images], min(batch_size, len(images))
    if not local_rv or not isinstance(data, dict) or not data:
        raise ConfigurationError(
            f"{owner}: a pymc3.Model needs local_rv={{latent: dict(mu=mean, rho=rho)}} and its data as "
            f"{{input: array}}, got local_rv={local_rv!r} and data of {type(data).__name__}"
        )
    arrays = [in_type(array, x.dtype, f"{owner}: the data for {x}") for x, array in data.items()]
    if len({len(array) for array in arrays}) > 1:
        shapes = [array.shape for array in arrays]
        raise DataError(f"{owner}: the data have shapes {shapes}: give equal, positive lengths")
    amortised = Amortised(model, local_rv, list(data))
    return amortised, arrays, amortised.batch_size


def _batches(arrays, batch_size):
    """Batches of `batch_size` rows, the last filled up by repeating its rows, and how many of them count."""
    n = len(arrays[0])
    for start in range(0, n, batch_size):
        count = min(batch_size, n - start)
        rows = start + np.arange(batch_size) % count
        yield [array[rows] for array in arrays], count


def _estimate(owner, model, data, k, repeats, seed, local_rv, batch_size):
    amortised, arrays, batch_size = _prepared(owner, model, data, seed, local_rv, batch_size)
    rng = generator(owner, seed)
    values, variances = [], []
    for batch, count in _batches(arrays, batch_size):
        params = amortised.encode(*batch)

        def log_weights(batch=batch, params=params):
            return amortised.log_weights(*batch, *params, *amortised.noise(rng, len(batch[0]))).astype(np.float64)

        value, variance = _average(log_weights, k, repeats)
        values.append(value[:count])
        variances.append(variance[:count])
    per_image, variances = np.concatenate(values), np.concatenate(variances)
    n = len(per_image)
    spread = per_image.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return Estimate(float(per_image.mean()), float(spread), float(np.sqrt(variances.sum()) / n), per_image)


def _average(log_weights, k, repeats):
    """Mean over repetitions of log-mean-exp over k draws, for each image, and its Monte Carlo variance."""
    mean = deviations = 0.0
    for i in range(1, repeats + 1):
        bound, variance = _log_mean_exp(log_weights, k)
        delta = bound - mean
        mean = mean + delta / i
        deviations = deviations + delta * (bound - mean)
    return mean, deviations / (repeats - 1) / repeats if repeats > 1 else variance


def _log_mean_exp(log_weights, k):
    """log-mean-exp of k draws, running, and its variance by the delta method (NaN for one draw)."""
    first = log_weights()
    log_sum, log_squares = first, 2 * first
    for _ in range(k - 1):
        w = log_weights()
        log_sum, log_squares = np.logaddexp(log_sum, w), np.logaddexp(log_squares, 2 * w)
    if k == 1:
        return log_sum, np.full_like(log_sum, np.nan)
    return log_sum - np.log(k), (np.exp(log_squares - 2 * log_sum) * k - 1) / (k - 1)
