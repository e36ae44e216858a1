"""Flatten and Reshape: between feature maps (batch, channels, rows, columns) and vectors (batch, features).

Examples
--------
>>> from fastvae import nn
>>> nn.Flatten().output_shape((64, 24, 24))
(36864,)
>>> nn.Reshape((64, 24, 24)).output_shape((36864,))
(64, 24, 24)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.backends import abstract
from fastvae.nn.layer import INPUT_SHAPE, Layer


class Flatten(Layer):
    """Each image's feature maps as one vector, in C order (channels outermost).

    Parameters
    ----------
    name : str, optional

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((5, 2, 3, 4), "float32")).eval().shape
    (5, 24)
    """

    @kinds.checked(Layer.__init__)
    def __init__(self, name: str = "flatten") -> None:
        super().__init__(name)

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """float32 (batch, channels * rows * columns) for float32 `x` (batch, channels, rows, columns)."""
        return self.checked_input(x, ndim=4).flatten(2)

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(channels * rows * columns,) for (channels, rows, columns)."""
        return (math.prod(self.checked_shape(input_shape, (None, None, None))),)


class Reshape(Layer):
    """Each vector as feature maps of a fixed shape: the inverse of `Flatten`.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, rows, columns.
    name : str, optional

    Examples
    --------
    >>> import numpy as np
    >>> Reshape((2, 3, 4))(np.zeros((5, 24), "float32")).eval().shape
    (5, 2, 3, 4)
    """

    @kinds.checked(Layer.__init__, shape=kinds.shape_of_images)
    def __init__(self, shape: tuple[int, int, int], name: str = "reshape") -> None:
        super().__init__(name)
        self.shape = shape

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """float32 (batch, channels, rows, columns) for float32 `x` (batch, channels * rows * columns)."""
        return abstract.Unflatten(self.shape)(self.checked_input(x, ndim=2))

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(channels, rows, columns) for (channels * rows * columns,)."""
        self.checked_shape(input_shape, (math.prod(self.shape),))
        return self.shape
