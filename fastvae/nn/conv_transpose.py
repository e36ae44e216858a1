"""ConvTranspose2D: the adjoint of a two-dimensional convolution, which takes its output shape back to its input shape.

Examples
--------
>>> from fastvae import nn
>>> nn.ConvTranspose2D(64, 1, 3, stride=2).output_shape((64, 13, 13))
(1, 27, 27)
"""

from fastvae import expressions, kinds
from fastvae.backends import abstract
from fastvae.errors import ConfigurationError
from fastvae.nn.conv import Convolutional
from fastvae.nn.layer import INPUT_SHAPE


def conv_transpose2d(x, weight, bias, stride, padding, activation):
    """``activation(gradient of a cross-correlation wrt its input, at x + bias)``."""
    return activation(abstract.conv_transpose2d(x, weight, bias, stride, padding))


class ConvTranspose2D(Convolutional):
    """Transposed convolution layer, NCHW: the gradient of `Conv2D` with respect to its input.

    With equal weights, stride and padding, ``<conv(x), y> = <x, conv_transpose(y)>`` (biases zero).

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
        Initialisers of the (n_in, n_out, rows, columns) weight, as that convolution holds it, and
        of the (n_out,) bias.
    name : str, optional
        Prefix of the parameters' names.
    rng : numpy.random.Generator or int, optional
        Source of the initial values; by default fresh entropy.

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Notes
    -----
    A strided convolution takes several input sizes to one output size; this layer returns the
    smallest of them, so it cannot mirror a stride that leaves a remainder.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose2D(1, 1, (1, 2), weight=lambda *_: np.array([[[[1, 10]]]], "float32"))
    >>> layer(np.array([[[[1, 2]]]], dtype="float32")).eval()
    array([[[[ 1., 12., 20.]]]], dtype=float32)
    """

    default_name = "conv_transpose"

    def weight_channels(self):
        """Channels of the weight, as the convolution whose adjoint this is holds it: (n_in, n_out)."""
        return self.n_in, self.n_out

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x):
        """The layer's output, float32 (batch, n_out, rows', columns'), for float32 `x` (batch, n_in, rows, columns)."""
        x = self.checked_input(x, ndim=4)
        return conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding, self.activation)

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape):
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
