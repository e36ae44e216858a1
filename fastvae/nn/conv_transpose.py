"""ConvTranspose2D: the adjoint of a two-dimensional convolution, which takes its output shape back to its input shape.

Examples
--------
>>> from fastvae import nn
>>> nn.ConvTranspose2D(64, 1, 3, stride=2).output_shape((64, 13, 13))
(1, 27, 27)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.backends import abstract
from fastvae.errors import ConfigurationError
from fastvae.nn.conv import Convolutional
from fastvae.nn.layer import INPUT_SHAPE


def conv_transpose2d(
    x: Any, weight: Any, bias: Any, stride: tuple[int, int], padding: tuple[int, int], activation: Callable[[Any], Any]
) -> tt.TensorVariable:
    """``activation(y + bias)``, where y is the gradient of a cross-correlation with respect to its input, at x."""
    return activation(abstract.conv_transpose2d(x, weight, bias, stride, padding))


class ConvTranspose2D(Convolutional):
    """Transposed convolution layer, NCHW: the gradient of `Conv2D` with respect to its input.

    With the same weight, stride and padding, and biases of zero, ``<conv(x), y> = <x, conv_transpose(y)>``.

    Parameters
    ----------
    n_in, n_out : int
        Channels in and out.
    kernel : int or (int, int)
        Rows and columns of the kernel.
    activation : callable, optional
        By default the identity.
    stride, padding : optional
        Those of the convolution whose adjoint this is (see `Conv2D`).
    weight, bias : callable, optional
        Initialisers of the weight (n_in, n_out, rows, columns), which is that convolution's, and the bias (n_out,).
        ``bias=None`` is a layer without one, as before a `BatchNorm`.
    name : str, optional
        Prefix of the parameters' names.
    rng : numpy.random.Generator or int, optional
        Where the initial values come from; by default fresh entropy.

    Raises
    ------
    ConfigurationError
        If an argument is invalid.

    Notes
    -----
    A strided convolution gives inputs of several sizes the same output size. This layer returns the smallest of them,
    so it is not for mirroring a convolution whose stride leaves a remainder.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose2D(1, 1, (1, 2), weight=lambda *_: np.array([[[[1, 10]]]], "float32"))
    >>> layer(np.array([[[[1, 2]]]], dtype="float32")).eval()
    array([[[[ 1., 12., 20.]]]], dtype=float32)
    """

    default_name = "conv_transpose"

    def weight_channels(self) -> tuple[int, int]:
        """Channels of the weight, as in the convolution whose adjoint this is: (n_in, n_out)."""
        return self.n_in, self.n_out

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """The layer's output, float32 (batch, n_out, rows', columns'), for float32 `x` (batch, n_in, rows, columns)."""
        x = self.checked_input(x, ndim=4)
        return conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding, self.activation)

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(n_out, rows', columns') for (n_in, rows, columns), where size' = (size - 1) stride + kernel - 2 padding."""
        _, *sizes = self.checked_shape(input_shape, (self.n_in, None, None))
        sizes = tuple(
            (size - 1) * stride + kernel - 2 * padding
            for size, stride, kernel, padding in zip(sizes, self.stride, self.kernel, self.padding)
        )
        if min(sizes) < 1:
            raise ConfigurationError(
                f"{self.owner}: the input shape {tuple(input_shape)} would give rows and columns {sizes}: "
                f"use larger inputs or a smaller padding than {self.padding}"
            )
        return (self.n_out, *sizes)
