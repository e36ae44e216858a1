"""Upsample2D: larger images, each pixel repeated or what lies between pixels interpolated.

Examples
--------
>>> from fastvae import nn
>>> nn.Upsample2D(2).output_shape((64, 7, 7))
(64, 14, 14)
"""

from __future__ import annotations

from typing import Any

from fastvae import expressions, kinds
from fastvae.backends.abstract.bilinear import BilinearUpsample
from fastvae.backends.abstract.upsample import Upsample
from fastvae.nn.layer import INPUT_SHAPE, Layer

_OPS = {"nearest": Upsample, "bilinear": BilinearUpsample}


class Upsample2D(Layer):
    """Images of `factor` times the rows and columns, NCHW.

    Before a convolution it takes the place of a `ConvTranspose2D` with a stride, and leaves no checkerboard pattern. It
    costs more than that where the kernel is small, because the convolution works on the larger image.

    Parameters
    ----------
    factor : int or (int, int)
        Of the rows and of the columns.
    name : str, optional
    mode : {"nearest", "bilinear"}, optional
        "nearest": each pixel becomes a block of equal ones. "bilinear": along each axis of n pixels, pixel i of the
        result lies at ``s = (i + 1/2) / factor - 1/2``, clipped to [0, n - 1], and is
        ``(1 - t) x[floor(s)] + t x[floor(s) + 1]`` with ``t = s - floor(s)``.

    Raises
    ------
    ConfigurationError
        If `factor` is not an integer of at least 1 or a pair of them, or `mode` is none of these.

    Notes
    -----
    Image and result cover the same area, as in PyTorch's ``Upsample`` with ``align_corners=False``. Theano's own
    `bilinear_upsampling` is the same for odd factors; for even ones its result lies half a pixel to the left and above.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[[0, 4]]]], "float32")
    >>> Upsample2D((1, 2))(x).eval().tolist()
    [[[[0.0, 0.0, 4.0, 4.0]]]]
    >>> Upsample2D((1, 2), mode="bilinear")(x).eval().tolist()
    [[[[0.0, 1.0, 3.0, 4.0]]]]
    """

    @kinds.checked(Layer.__init__, factor=kinds.pair, mode=kinds.choice(*_OPS))
    def __init__(self, factor: int | tuple[int, int], name: str = "upsample", mode: str = "nearest") -> None:
        super().__init__(name)
        self.factor, self.mode = factor, mode

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> Any:
        """float32 (batch, channels, factor * rows, factor * columns) for float32 (batch, channels, rows, columns)."""
        return _OPS[self.mode](self.factor)(self.checked_input(x, ndim=4))

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(channels, factor * rows, factor * columns) for (channels, rows, columns)."""
        channels, rows, columns = self.checked_shape(input_shape, (None, None, None))
        return (channels, rows * self.factor[0], columns * self.factor[1])
