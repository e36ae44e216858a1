"""Rectifiers with a slope below 0, as layers: LeakyReLU with a given one, PReLU with trained ones.

Examples
--------
>>> from fastvae import nn
>>> nn.LeakyReLU(0.2).output_shape((64, 7, 7))
(64, 7, 7)
>>> nn.PReLU(64, name="act1").get_params()
[act1.alpha]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.backends.abstract.activations import ParametricRelu
from fastvae.errors import ConfigurationError
from fastvae.nn.activations import leaky_relu
from fastvae.nn.initializers import constant
from fastvae.nn.layer import INITIALIZER, INPUT_SHAPE, Layer

QUARTER = constant(0.25)


class LeakyReLU(Layer):
    """x where it is above 0, else alpha x; a layer, or the activation of another layer.

    Parameters
    ----------
    alpha : float, optional
        The slope below 0. For one that is trained take `fastvae.nn.PReLU`.
    name : str, optional

    Raises
    ------
    ConfigurationError
        If `alpha` is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvae import nn
    >>> LeakyReLU(0.5)(np.array([[-2, 3]], dtype="float32")).eval()
    array([[-1.,  3.]], dtype=float32)
    >>> layer = nn.Conv2D(1, 8, 3, activation=LeakyReLU(0.2))
    """

    @kinds.checked(Layer.__init__, alpha=kinds.number(above=0, like=0.01))
    def __init__(self, alpha: float = 0.01, name: str = "leaky_relu") -> None:
        super().__init__(name)
        self.alpha = alpha

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """An expression of the type of `x`, which is float32 or float64 of any shape."""
        return leaky_relu(x, self.alpha)

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """`input_shape`, as a tuple."""
        return self.checked_shape(input_shape, [None] * len(input_shape))


class PReLU(Layer):
    """x where it is above 0, else alpha x, with a trained alpha for each channel (He et al., 2015, arXiv:1502.01852).

    Parameters
    ----------
    n_channels : int
        Size of axis 1: channels of images, or columns of a matrix.
    alpha : callable, optional
        Initialiser of the slopes (n_channels,). By default the paper's 0.25.
    name : str, optional

    Raises
    ------
    ConfigurationError
        If an argument is invalid.

    Notes
    -----
    Weight decay should leave alpha out: it would draw the layer towards ReLU. As the ``activation=`` of another layer
    it works, but that layer's `get_params` does not have alpha; `fastvae.collect_params` does.

    Examples
    --------
    >>> import numpy as np
    >>> PReLU(2)(np.array([[-4, -8], [1, 2]], dtype="float32")).eval()
    array([[-1., -2.],
           [ 1.,  2.]], dtype=float32)
    """

    @kinds.checked(Layer.__init__, n_channels=kinds.size, alpha=INITIALIZER)
    def __init__(self, n_channels: int, alpha: Callable[..., Any] = QUARTER, name: str = "prelu") -> None:
        super().__init__(name)
        self.n_channels = n_channels
        self.alpha = self.add_parameter("alpha", (n_channels,), n_channels, n_channels, alpha, None)

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """An expression like `x`, float32 (batch, n_channels) or (batch, n_channels, rows, columns)."""
        x = self.checked_input(x, ndim=(2, 4))
        alpha = self.alpha.dimshuffle("x", 0, *["x"] * (x.ndim - 2))
        return tt.patternbroadcast(tt.Elemwise(ParametricRelu())(x, alpha), x.broadcastable)

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """`input_shape`, as a tuple: (n_channels,) or (n_channels, rows, columns)."""
        if len(input_shape) not in (1, 3):
            raise ConfigurationError(
                f"{self.owner}: the input shape {tuple(input_shape)} is neither (n_channels,) nor (n_channels, rows, "
                "columns)"
            )
        return self.checked_shape(input_shape, (self.n_channels, *[None] * (len(input_shape) - 1)))
