"""How good a trained VAE is on images that it has not seen.

======================  ==============================================================================
`reconstruction_error`  squared error of the reconstructions, against that of the mean image
`elbo`                  the evidence lower bound, nats per image
`iwae_bound`            the tighter bound of k importance samples
`log_likelihood`        log p(x) by importance sampling
`bits_per_dimension`    such an estimate in bits per pixel and channel
`active_units`          the latents that the model uses
`inference_data`        posterior draws of the latents, for ArviZ
======================  ==============================================================================

`elbo`, `iwae_bound` and `log_likelihood` also take a user's own `pymc3.Model`; they are defined in
`fastvae.evaluation.importance`.

>>> ReconstructionError(mse=0.02, mse_of_mean_image=0.08, ratio=0.25).ratio <= 0.5
True
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import kinds
from fastvae.datasets import as_images
from fastvae.errors import DataError
from fastvae.evaluation.importance import KINDS, Estimate, elbo, iwae_bound, latent_draws, log_likelihood

if TYPE_CHECKING:
    import arviz

__all__ = [
    "Estimate",
    "ReconstructionError",
    "active_units",
    "bits_per_dimension",
    "elbo",
    "inference_data",
    "iwae_bound",
    "log_likelihood",
    "reconstruction_error",
]


class ReconstructionError(NamedTuple):
    """Mean squared errors per pixel and channel, for pixels in [0, 1]."""

    mse: float  #: of the reconstructions
    mse_of_mean_image: float  #: of the images' mean, taken as the reconstruction of each
    ratio: float  #: mse / mse_of_mean_image: 0 is perfect, 1 is no better than the mean image


@kinds.checked(vae=kinds.having("encode_mean", "decode_mean"), images=kinds.anything, batch_size=kinds.size)
def reconstruction_error(vae: Any, images: Any, batch_size: int = 500) -> ReconstructionError:
    """Compare images with their reconstructions, decode(mean of encode(x)).

    Parameters
    ----------
    vae : object
        With ``encode_mean(images) -> (N, n_latent)`` and ``decode_mean(z) -> (N, C, H, W)``, both float32.
    images : numpy.ndarray
        As `fastvae.datasets.as_images` accepts them; at least two different ones.
    batch_size : int
        How many images are encoded and decoded at a time.

    Returns
    -------
    ReconstructionError
        Sums are accumulated in float64. NaN if the model's output is NaN.

    Raises
    ------
    DataError
        If the images are malformed or all the same, or the reconstructions have another shape.
    ConfigurationError
        If `batch_size` is not a positive int.

    Notes
    -----
    The mean of the images is their best constant reconstruction, so 1 - ratio is the share of their variance that the
    model explains. Not for comparing models of different latent sizes: a larger latent nearly always lowers the error,
    which uses only the latent's mean and says nothing about samples or likelihood.

    Examples
    --------
    A perfect auto-encoder of images of one pixel:

    >>> class Identity:
    ...     encode_mean = staticmethod(lambda images: images.reshape(-1, 1))
    ...     decode_mean = staticmethod(lambda z: z.reshape(-1, 1, 1, 1))
    >>> reconstruction_error(Identity(), np.array([0.0, 1.0]).reshape(2, 1, 1))
    ReconstructionError(mse=0.0, mse_of_mean_image=0.25, ratio=0.0)
    """
    images = as_images(images, source="images")
    mean_image = images.mean(axis=0, dtype=np.float64)
    squared_error = squared_deviation = 0.0
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        reconstructed = vae.decode_mean(vae.encode_mean(batch))
        if np.shape(reconstructed) != batch.shape:
            raise DataError(
                f"the model reconstructs images of shape {batch.shape} as {np.shape(reconstructed)}: evaluate it on "
                "images of the shape that it was trained on"
            )
        squared_error += np.sum(np.square(reconstructed - batch, dtype=np.float64))
        squared_deviation += np.sum(np.square(batch - mean_image))
    if squared_deviation == 0:
        raise DataError(f"images: found {len(images)} times the same image: give at least two different ones")
    mse, mse_of_mean_image = float(squared_error / images.size), float(squared_deviation / images.size)
    return ReconstructionError(mse, mse_of_mean_image, mse / mse_of_mean_image)


@kinds.checked(
    estimate=kinds.instance("estimate", "an Estimate, as elbo, iwae_bound and log_likelihood return it", Estimate),
    image_shape=kinds.shape_of_images,
)
def bits_per_dimension(estimate: Estimate, image_shape: Sequence[int]) -> tuple[float, float]:
    """An estimate of log p(x) in bits per pixel and channel, and its standard error.

    Parameters
    ----------
    estimate : Estimate
    image_shape : (int, int, int)

    Returns
    -------
    (float, float)
        Fewer bits are better. With a discrete likelihood they are the length of a code. With a Normal likelihood they
        belong to a density of pixels in [0, 1], can be negative, and are comparable only with those of other densities.

    Examples
    --------
    >>> eight = Estimate(-4 * 8 * math.log(2), 0.0, 0.0, np.empty(0))
    >>> bits_per_dimension(eight, (1, 2, 2))
    (8.0, 0.0)
    """
    nats = math.log(2) * math.prod(image_shape)
    return -estimate.nats / nats, estimate.standard_error / nats


class ActiveUnits(NamedTuple):
    """The latents that a VAE uses."""

    count: int
    variances: np.ndarray  #: float64 (n_latent,), of the posterior means over the images


@kinds.checked(vae=kinds.having("encode_mean"), images=kinds.anything, threshold=kinds.number(minimum=0, like=0.01))
def active_units(vae: Any, images: Any, threshold: float = 0.01) -> ActiveUnits:
    """Latents whose posterior mean has a variance over the images above a threshold.

    Parameters
    ----------
    vae : object
        With ``encode_mean(images) -> (N, n_latent)``.
    images : numpy.ndarray
        As `fastvae.datasets.as_images` accepts them.
    threshold : float
        The variance above which a latent counts; 0.01 as in Burda, Grosse, Salakhutdinov (arXiv:1509.00519, section 5).

    Returns
    -------
    ActiveUnits

    Raises
    ------
    ConfigurationError
        If `threshold` is not a number of at least 0.

    Examples
    --------
    >>> class Half:
    ...     encode_mean = staticmethod(lambda images: images.reshape(len(images), -1)[:, :2] * np.array([1, 0]))
    >>> active_units(Half(), np.random.default_rng(0).random((50, 1, 2, 2))).count
    1
    """
    variances = vae.encode_mean(as_images(images, source="images")).var(axis=0, dtype=np.float64)
    return ActiveUnits(int((variances > threshold).sum()), variances)


@kinds.checked(**KINDS)
def inference_data(
    model: Any,
    data: Any,
    n_samples: int = 500,
    seed: int | np.random.Generator | None = None,
    *,
    local_rv: Any = None,
) -> arviz.InferenceData:
    """Posterior draws of the latents of images, in ArviZ's form.

    Parameters
    ----------
    model, data
        As for `elbo`.
    n_samples : int
        Number of independent draws of each image's latents.
    seed, local_rv
        As for `elbo`.

    Returns
    -------
    arviz.InferenceData
        In its group ``posterior`` a `fastvae.VAE` has the variable ``zs`` with the dimensions chain (1), draw, image
        and latent. Of several variables, each (z) has a dimension of its own (z_latent), or one for each axis
        (z_latent_0, z_latent_1).

    Raises
    ------
    ConfigurationError, DataError
        As `elbo`.

    Notes
    -----
    The draws are independent ones from q, neither from a Markov chain nor from the true posterior, so effective sample
    sizes and R-hat say nothing about the fit.

    Examples
    --------
    >>> import fastvae
    >>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
    >>> dict(inference_data(vae, np.zeros((3, 1, 4, 4)), n_samples=5, seed=1).posterior.zs.sizes)
    {'chain': 1, 'draw': 5, 'image': 3, 'latent': 2}
    """
    import arviz  # here, because it takes a second and only this function needs it

    draws = latent_draws(model, data, n_samples, seed, local_rv=local_rv)
    dims = {}
    for name, value in draws.items():
        axis = "latent" if len(draws) == 1 else f"{name}_latent"
        dims[name] = ["image", *([axis] if value.ndim == 3 else [f"{axis}_{i}" for i in range(value.ndim - 2)])]
    return arviz.from_dict({name: value[None] for name, value in draws.items()}, dims=dims)
