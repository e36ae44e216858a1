"""MaxPool2D, AveragePool2D and GlobalAveragePool2D: smaller images, one number for each window of pixels.

Examples
--------
>>> from fastvae import nn
>>> nn.MaxPool2D(2).output_shape((64, 28, 28))
(64, 14, 14)
>>> nn.GlobalAveragePool2D().output_shape((64, 7, 7))
(64,)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.arguments import PADDING, resolve_padding
from fastvae.backends.abstract import pool
from fastvae.errors import ConfigurationError
from fastvae.nn.layer import INPUT_SHAPE, Layer


class _Pool2D(Layer):
    """Windows, their steps and the padding. A subclass says which `mode` of `pool_2d` it computes."""

    def __init__(self, name, window, stride, padding, mode):
        super().__init__(name)
        self.window, self.stride = window, window if stride is None else stride
        self.padding = resolve_padding(self.owner, padding, window, "window")
        self._op = pool.Pool(self.window, self.stride, self.padding, mode, fits=True)

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """float32 (batch, channels, rows', columns') for float32 `x` (batch, channels, rows, columns).

        Images into which no window fits are a ValueError when the expression is computed.
        """
        return self._op(self.checked_input(x, ndim=4))

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(channels, rows', columns') for (channels, rows, columns): size' = (size + 2 padding - window) // stride + 1.

        Raises
        ------
        ConfigurationError
            If the window is larger than the image with its padding.
        """
        channels, *sizes = self.checked_shape(input_shape, (None, None, None))
        pooled = [self._op.pooled(size, axis) for axis, size in enumerate(sizes)]
        if 0 in pooled:
            raise ConfigurationError(
                f"{self.owner}: the input shape {tuple(input_shape)} with padding {self.padding} is smaller than the "
                f"window {self.window}: use larger images, fewer strides or more padding"
            )
        return (channels, *pooled)


class MaxPool2D(_Pool2D):
    """The greatest pixel of each window, NCHW.

    Parameters
    ----------
    window : int or (int, int)
        Rows and columns of a window.
    stride : int or (int, int), optional
        Step from one window to the next; by default the window, so that none overlap.
    padding : {"valid", "same"}, int or (int, int), optional
        Pixels on each side that are never the greatest: none, (window - 1) / 2, or as given (less than the window).
    name : str, optional

    Raises
    ------
    ConfigurationError
        If an argument is invalid.

    Notes
    -----
    What does not fill a whole window at the right and at the bottom is left out. Where several pixels are the greatest,
    each of them has the gradient, as in Theano; PyTorch gives it to the first.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool2D((1, 2))(np.array([[[[1, 2, 8, 4, 5]]]], "float32")).eval().tolist()
    [[[[2.0, 8.0]]]]
    """

    @kinds.checked(Layer.__init__, window=kinds.pair, stride=kinds.optional(kinds.pair), padding=PADDING)
    def __init__(
        self,
        window: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: str | int | tuple[int, int] = 0,
        name: str = "max_pool",
    ) -> None:
        super().__init__(name, window, stride, padding, "max")


class AveragePool2D(_Pool2D):
    """The average over each window, NCHW.

    Parameters
    ----------
    window, stride, padding
        As for `MaxPool2D`; the padding is zeros.
    count_include_pad : bool, optional
        Whether the zeros of the padding count, so that every sum is divided by the size of the window; if not, by the
        number of the image's pixels in it.
    name : str, optional

    Raises
    ------
    ConfigurationError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[[2, 4, 6]]]], "float32")
    >>> AveragePool2D((1, 3), stride=1, padding="same")(x).eval().tolist()
    [[[[2.0, 4.0, 3.3333332538604736]]]]
    >>> AveragePool2D((1, 3), stride=1, padding="same", count_include_pad=False)(x).eval().tolist()
    [[[[3.0, 4.0, 5.0]]]]
    """

    @kinds.checked(
        Layer.__init__,
        window=kinds.pair,
        stride=kinds.optional(kinds.pair),
        padding=PADDING,
        count_include_pad=kinds.boolean,
    )
    def __init__(
        self,
        window: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: str | int | tuple[int, int] = 0,
        count_include_pad: bool = True,
        name: str = "average_pool",
    ) -> None:
        super().__init__(name, window, stride, padding, "average_inc_pad" if count_include_pad else "average_exc_pad")


class GlobalAveragePool2D(Layer):
    """The average of each channel over all its pixels.

    Parameters
    ----------
    name : str, optional

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAveragePool2D()(np.arange(8, dtype="float32").reshape(1, 2, 2, 2)).eval().tolist()
    [[1.5, 5.5]]
    """

    @kinds.checked(Layer.__init__)
    def __init__(self, name: str = "global_average_pool") -> None:
        super().__init__(name)

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """float32 (batch, channels) for float32 `x` (batch, channels, rows, columns)."""
        return self.checked_input(x, ndim=4).mean((2, 3))

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(channels,) for (channels, rows, columns)."""
        return self.checked_shape(input_shape, (None, None, None))[:1]
