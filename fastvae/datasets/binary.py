"""Images of 0 and 1, drawn once from grey ones: each pixel is 1 with its intensity as the probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from fastvae import kinds
from fastvae.arguments import RNG, generator
from fastvae.datasets.rows import ConvertedRows, Rows, images_on_disk
from fastvae.datasets.validation import as_images


@overload
def binarized(images: Rows, seed: int = ...) -> Rows: ...
@overload
def binarized(images: Any, seed: int | np.random.Generator | None = ...) -> np.ndarray: ...
@kinds.checked(images=kinds.anything, seed=RNG)
def binarized(images: Any, seed: int | np.random.Generator | None = 0) -> np.ndarray | Rows:
    """Binary images: each pixel is drawn once, with its intensity as the probability of 1.

    Parameters
    ----------
    images : array-like or fastvae.datasets.rows.Rows
        As for `as_images`, or images on disk.
    seed : int, numpy.random.Generator or None
        None is fresh entropy. Images on disk need an int.

    Returns
    -------
    numpy.ndarray or fastvae.datasets.rows.Rows
        bool (N, C, H, W). Images on disk are drawn as they are read, with the same result as in memory.

    Raises
    ------
    DataError
        As `as_images`.
    ConfigurationError
        If the seed is invalid.

    Notes
    -----
    Each pixel is drawn once and for all; ``fastvae.Minibatch(..., binarize=True)`` draws again in every step, which
    overfits less.

    Examples
    --------
    >>> images = np.full((1000, 1, 10, 10), 0.3)
    >>> bool(abs(binarized(images).mean() - 0.3) < 0.01)
    True
    """
    if isinstance(images, Rows):
        number = kinds.seed.check("binarized", "seed", seed)  # so that what a row becomes depends on its place alone
        return ConvertedRows(images_on_disk(images), lambda block, rows: drawn(block, rows, number), bool)
    images = as_images(images)
    rng = generator("binarized", seed)
    return np.stack([rng.random(image.shape, dtype=np.float32) < image for image in images])


def drawn(block: np.ndarray, rows: Sequence[int] | np.ndarray, seed: int) -> np.ndarray:
    """The rows of `binarized(images, seed)` for a block of intensities and its row numbers: bool, of the same shape."""
    size = math.prod(block.shape[1:])
    return np.stack([_uniform(seed, int(row) * size, image.shape) < image for row, image in zip(rows, block)])


def _uniform(seed: int, start: int, shape: tuple[int, ...]) -> np.ndarray:
    """What `numpy.random.default_rng(seed)` draws after its first `start` float32 numbers."""
    bits = np.random.PCG64(seed)
    bits.advance(start // 2)  # a step of the generator makes two of them
    rng = np.random.Generator(bits)
    rng.random(start % 2, dtype=np.float32)
    return rng.random(shape, dtype=np.float32)
