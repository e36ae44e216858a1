"""LeakyReLU: an activation with a small slope below 0, as a layer.

Examples
--------
>>> from fastvae import nn
>>> nn.LeakyReLU(0.2).output_shape((64, 7, 7))
(64, 7, 7)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.nn.activations import leaky_relu
from fastvae.nn.layer import INPUT_SHAPE, Layer


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
