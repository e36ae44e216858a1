"""Images as a model takes them: of its shape, checked by its likelihood, and a few of them at a time.

Examples
--------
>>> as_model_takes(np.zeros((2, 1, 4, 4)), (1, 4, 4), "MLPVAE: images").dtype
dtype('float32')
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.datasets import as_images
from fastvae.datasets.rows import Rows, as_rows, images_on_disk
from fastvae.distributions.likelihood import Likelihood
from fastvae.errors import DataError

CHUNK = 500  # images in one call of a compiled function: bounds the memory that activations take


def as_model_takes(images: Any, shape: tuple[int, int, int], source: str, keep_bytes: bool = False) -> np.ndarray:
    """Images in memory, (N, C, H, W): float32 in [0, 1], or with `keep_bytes` uint8 where they are that.

    Parameters
    ----------
    images : array or rows on disk
        As `fastvae.datasets.as_images` takes them.
    shape : (int, int, int)
        Of an image of the model.
    source : str
        Whose images they are, for an error message.
    keep_bytes : bool

    Raises
    ------
    DataError
        If they are not such images, or of another shape.
    """
    images = as_images(images, source, keep_bytes)
    _check_shape(images, shape, source)
    return images


def to_train_on(
    images: Any, shape: tuple[int, int, int], likelihood: Likelihood, owner: str, keep_bytes: bool = True
) -> np.ndarray | Rows:
    """Images to train on or judge by; rows on disk stay there and are checked as they are read.

    Parameters
    ----------
    images, shape, keep_bytes
        As for `as_model_takes`.
    likelihood : fastvae.likelihoods.Likelihood
        Whose `check` they pass.
    owner : str
        Who asks, for an error message.

    Raises
    ------
    DataError
        If they are not such images, of another shape, or not what the likelihood takes.
    """
    rows = as_rows(images, images=True)
    if rows is not None:
        _check_shape(rows, shape, f"{owner}: {rows.source}")
        return images_on_disk(rows, likelihood.check, keep_bytes)
    images = as_model_takes(images, shape, owner, keep_bytes)
    likelihood.check(images, owner)
    return images


def in_chunks(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """What a compiled function returns for the rows of an array, `CHUNK` of them a call.

    Examples
    --------
    >>> in_chunks(np.sqrt, np.ones(CHUNK + 1)).shape
    (501,)
    """
    return np.concatenate([function(values[start : start + CHUNK]) for start in range(0, len(values), CHUNK)])


def _check_shape(images, shape, source):
    if images.shape[1:] != shape:
        raise DataError(
            f"{source}: found images of {images.dtype} {images.shape}, the model takes (N, "
            f"{', '.join(map(str, shape))}): convert them, or build a model of their shape"
        )
