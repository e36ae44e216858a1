"""Conv2D: two-dimensional convolution of images (batch, channels, rows, columns).

Examples
--------
>>> from fastvae import nn
>>> nn.Conv2D(1, 64, 3, stride=2, padding="same").output_shape((1, 28, 28))
(64, 14, 14)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.arguments import PADDING, RNG, generator, pair, resolve_padding
from fastvae.backends import abstract
from fastvae.errors import ConfigurationError
from fastvae.nn.activations import identity
from fastvae.nn.initializers import glorot_uniform, zeros
from fastvae.nn.layer import INITIALIZER, INPUT_SHAPE, Layer


def conv2d(
    x: Any, weight: Any, bias: Any, stride: tuple[int, int], padding: tuple[int, int], activation: Callable[[Any], Any]
) -> tt.TensorVariable:
    """``activation(cross-correlation of x with weight + bias)``."""
    return activation(abstract.conv2d(x, weight, bias, stride, padding))


class Convolutional(Layer):
    """What a convolution and its adjoint have in common: the arguments, their checks, and the parameters.

    A subclass defines `default_name`, and with `weight_channels` the order of the channels in its weight.
    """

    default_name: str

    def weight_channels(self) -> tuple[int, int]:
        """The first two axes of the weight."""
        raise NotImplementedError

    @kinds.checked(
        Layer.__init__,
        n_in=kinds.size,
        n_out=kinds.size,
        kernel=kinds.pair,
        stride=kinds.pair,
        padding=PADDING,
        weight=INITIALIZER,
        bias=kinds.optional(INITIALIZER),
        name=kinds.optional(kinds.text),
        rng=RNG,
    )
    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int | tuple[int, int],
        activation: Callable[[Any], Any] | None = identity,
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = "valid",
        weight: Callable[..., Any] = glorot_uniform,
        bias: Callable[..., Any] | None = zeros,
        name: str | None = None,
        rng: Any = None,
    ) -> None:
        super().__init__(self.default_name if name is None else name, activation)
        self.n_in, self.n_out, self.kernel = n_in, n_out, kernel
        self.stride = pair(self.owner, "stride", stride)
        self.padding = resolve_padding(self.owner, padding, self.kernel)
        area = self.kernel[0] * self.kernel[1]
        fans = self.n_in * area, self.n_out * area
        rng = generator(self.owner, rng)
        self.weight = self.add_parameter("weight", (*self.weight_channels(), *self.kernel), *fans, weight, rng)
        self.bias = None if bias is None else self.add_parameter("bias", (self.n_out,), *fans, bias, rng)


class Conv2D(Convolutional):
    """Convolution layer, NCHW; a cross-correlation as in cuDNN, oneDNN and PyTorch (the kernel is not flipped).

    Parameters
    ----------
    n_in, n_out : int
        Channels in, filters out.
    kernel : int or (int, int)
        Rows and columns of the kernel.
    activation : callable, optional
        By default the identity.
    stride : int or (int, int), optional
        Step of the kernel.
    padding : {"valid", "same"}, int or (int, int), optional
        Zeros on each side of the image: none, (kernel - 1) / 2, or as given (less than the kernel).
    weight, bias : callable, optional
        Initialisers of the weight (n_out, n_in, rows, columns) and the bias (n_out,). ``bias=None`` is a layer without
        one, as before a `BatchNorm`.
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
    Not for weights that were trained with theano's own default ``filter_flip=True``: reverse the last two axes of such
    a weight first.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2D(1, 1, 2, weight=lambda *_: np.array([[[[1, 0], [0, 10]]]], "float32"))
    >>> layer(np.arange(6, dtype="float32").reshape(1, 1, 2, 3)).eval()
    array([[[[40., 51.]]]], dtype=float32)
    """

    default_name = "conv"

    def weight_channels(self) -> tuple[int, int]:
        """Channels of the weight: (n_out, n_in)."""
        return self.n_out, self.n_in

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """The layer's output, float32 (batch, n_out, rows', columns'), for float32 `x` (batch, n_in, rows, columns)."""
        x = self.checked_input(x, ndim=4)
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.activation)

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(n_out, rows', columns') for (n_in, rows, columns): size' = (size + 2 padding - kernel) // stride + 1."""
        _, *sizes = self.checked_shape(input_shape, (self.n_in, None, None))
        spans = [size + 2 * padding - kernel for size, padding, kernel in zip(sizes, self.padding, self.kernel)]
        if min(spans) < 0:
            raise ConfigurationError(
                f"{self.owner}: the input shape {tuple(input_shape)} with padding {self.padding} is smaller than the "
                f"kernel {self.kernel}: use larger images, fewer strides or more padding"
            )
        return (self.n_out, *(span // stride + 1 for span, stride in zip(spans, self.stride)))
