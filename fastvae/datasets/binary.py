"""Images of 0 and 1, drawn once from grey ones: each pixel is 1 with the probability of its intensity."""

import math

import numpy as np

from fastvae import kinds
from fastvae.arguments import RNG, generator
from fastvae.datasets.rows import ConvertedRows, Rows, images_on_disk
from fastvae.datasets.validation import as_images


@kinds.checked(images=kinds.anything, seed=RNG)
def binarized(images, seed=0):
    """Images of 0 and 1, bool, each pixel drawn once with its intensity as the probability of 1.

    Parameters
    ----------
    images : array-like or fastvae.datasets.rows.Rows
        As for `as_images`, or images on disk.
    seed : int

    Returns
    -------
    numpy.ndarray or fastvae.datasets.rows.Rows
        bool (N, C, H, W). Rows on disk are drawn as they are read, with the result that they would have in memory.

    Raises
    ------
    DataError
        As `as_images`.
    ConfigurationError
        If the seed is no integer of at least 0.

    Notes
    -----
    Draws once and for all; ``fastvae.Minibatch(..., binarize=True)`` draws anew in every step, which overfits less.

    Examples
    --------
    >>> images = np.full((1000, 1, 10, 10), 0.3)
    >>> bool(abs(binarized(images).mean() - 0.3) < 0.01)
    True
    """
    if isinstance(images, Rows):
        seed = kinds.seed.check("binarized", "seed", seed)  # a row's numbers depend on its place alone
        return ConvertedRows(images_on_disk(images), lambda block, rows: drawn(block, rows, seed), bool)
    images = as_images(images)
    rng = generator("binarized", seed)
    return np.stack([rng.random(image.shape, dtype=np.float32) < image for image in images])


def drawn(block, rows, seed):
    """Those rows of `binarized(images, seed)`, a block of intensities and their numbers: bool, of the block's shape."""
    size = math.prod(block.shape[1:])
    return np.stack([_uniform(seed, int(row) * size, image.shape) < image for row, image in zip(rows, block)])


def _uniform(seed, start, shape):
    """What `numpy.random.default_rng(seed)` draws after `start` float32 numbers; each step of it makes two of them."""
    bits = np.random.PCG64(seed)
    bits.advance(start // 2)
    rng = np.random.Generator(bits)
    rng.random(start % 2, dtype=np.float32)
    return rng.random(shape, dtype=np.float32)
