"""How good a trained VAE is on images that it has not seen: `reconstruction_error`, against the mean image.

>>> ReconstructionError(mse=0.02, mse_of_mean_image=0.08, ratio=0.25).ratio <= 0.5
True
"""
from typing import NamedTuple

import numpy as np

from fastvae.datasets import as_images
from fastvae.errors import ConfigurationError, DataError


class ReconstructionError(NamedTuple):
    """Mean squared errors per pixel and channel value, for pixels in [0, 1]."""

    mse: float  #: of the reconstructions
    mse_of_mean_image: float  #: of the mean of the same images, put in place of each of them
    ratio: float  #: mse / mse_of_mean_image: 0 is perfect, 1 no better than the mean image


def reconstruction_error(vae, images, batch_size=500):
    """Compare the images with their reconstructions decode(mean of encode(x)).

    Parameters
    ----------
    vae : object
        With ``encode_mean(images) -> (N, n_latent)`` and ``decode_mean(z) -> (N, C, H, W)``, both float32.
    images : numpy.ndarray
        As `fastvae.datasets.as_images` accepts them; at least two different ones.
    batch_size : int
        Images to encode and decode at a time.

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
    The mean image of the evaluated images is the best constant reconstruction of them, so 1 - ratio is the share of
    their variance that the model explains. The error uses the mean of the latent alone: it says nothing about
    samples or likelihood, and a larger latent nearly always lowers it.

    Examples
    --------
    A perfect auto-encoder of images of one pixel:

    >>> class Identity:
    ...     encode_mean = staticmethod(lambda images: images.reshape(-1, 1))
    ...     decode_mean = staticmethod(lambda z: z.reshape(-1, 1, 1, 1))
    >>> reconstruction_error(Identity(), np.array([0.0, 1.0]).reshape(2, 1, 1))
    ReconstructionError(mse=0.0, mse_of_mean_image=0.25, ratio=0.0)
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ConfigurationError(f"batch_size={batch_size!r}: it must be a positive int, such as 500")
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
        raise DataError(f"images: found {len(images)} times the same image, at least two different ones are needed")
    mse, mse_of_mean_image = float(squared_error / images.size), float(squared_deviation / images.size)
    return ReconstructionError(mse, mse_of_mean_image, mse / mse_of_mean_image)
