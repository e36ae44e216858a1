"""Upsample2D: larger images, each pixel repeated.

Examples
--------
>>> from fastvae import nn
>>> nn.Upsample2D(2).output_shape((64, 7, 7))
(64, 14, 14)
"""

from __future__ import annotations

from typing import Any

from fastvae import expressions, kinds
from fastvae.backends.abstract.upsample import Upsample
from fastvae.nn.layer import INPUT_SHAPE, Layer


class Upsample2D(Layer):
    """Nearest-neighbour upsampling, NCHW: each pixel becomes a block of equal ones.

    Before a convolution it takes the place of a `ConvTranspose2D` with a stride, and leaves no checkerboard pattern. It
    costs more than that where the kernel is small, because the convolution works on the larger image.

    Parameters
    ----------
    factor : int or (int, int)
        Rows and columns of a block.
    name : str, optional

    Raises
    ------
    ConfigurationError
        If `factor` is not an integer of at least 1 or a pair of them.

    Examples
    --------
    >>> import numpy as np
    >>> Upsample2D((1, 2))(np.array([[[[1, 2]]]], "float32")).eval().tolist()
    [[[[1.0, 1.0, 2.0, 2.0]]]]
    """

    @kinds.checked(Layer.__init__, factor=kinds.pair)
    def __init__(self, factor: int | tuple[int, int], name: str = "upsample") -> None:
        super().__init__(name)
        self.factor = factor

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> Any:
        """float32 (batch, channels, factor * rows, factor * columns) for float32 (batch, channels, rows, columns)."""
        return Upsample(self.factor)(self.checked_input(x, ndim=4))

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(channels, factor * rows, factor * columns) for (channels, rows, columns)."""
        channels, rows, columns = self.checked_shape(input_shape, (None, None, None))
        return (channels, rows * self.factor[0], columns * self.factor[1])
