"""Values: what a minibatch's numbers must be, and how the step converts them (scaled, binarised).

Examples
--------
>>> values = Values.of(np.array([[0, 255]], "uint8"), scale=1 / 255)
>>> values.in_step(tt.as_tensor(np.array([[0, 255]], "uint8")), rng=None).eval()
array([[0., 1.]], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import theano.tensor as tt

from fastvae import kinds
from fastvae.datasets import validation
from fastvae.datasets.binary import drawn
from fastvae.errors import DataError

SCALE = kinds.optional(kinds.number(above=0, like="1/255"))


class Values(NamedTuple):
    """What is known of one array of a minibatch.

    Attributes
    ----------
    dtype : str
    row_shape : tuple of int
    scale : numpy.float32 or None
    binarize : bool
    """

    dtype: str
    row_shape: tuple[int, ...]
    scale: np.float32 | None
    binarize: bool

    @classmethod
    def of(cls, example: np.ndarray, scale: float | None = None, binarize: bool = False) -> Values:
        """Those of an array (..., *row_shape); ConfigurationError if an option is invalid."""
        scale = SCALE.check("Minibatch", "scale", scale)
        binarize = kinds.boolean.check("Minibatch", "binarize", binarize)
        factor = None if scale is None else np.float32(scale)
        return cls(str(np.dtype(example.dtype)), tuple(example.shape[1:]), factor, binarize)

    @property
    def kind(self) -> list[Any]:
        """Type and shape as JSON values."""
        return [self.dtype, list(self.row_shape)]

    def check(
        self, array: np.ndarray, rows: Sequence[int] | np.ndarray | None = None, source: str | None = None
    ) -> None:
        """Raise DataError unless an array contains such rows, all finite, and in [0, 1] if they are probabilities.

        Parameters
        ----------
        array : numpy.ndarray, (batch, *row_shape)
        rows : sequence of int, optional
            The numbers of these rows in the data, for the message.
        source : str, optional
            What the message calls the data.
        """
        source = source or f"Minibatch: an array of shape {array.shape}"
        if str(array.dtype) != self.dtype or array.shape[1:] != self.row_shape:
            raise DataError(
                f"{source}: found rows of {array.dtype} {array.shape[1:]}, the first is {self.dtype} {self.row_shape}: "
                "all need one type and one shape"
            )
        if self.binarize:
            scaled = array if self.scale is None else array * self.scale
            rule = "binarize needs values in [0, 1] after scaling: give scale="
            validation.refuse(~((scaled >= 0) & (scaled <= 1)), array, source, rows, rule)
        else:
            validation.check_finite(array, source, rows)

    def once(self, array: np.ndarray, rows: Sequence[int] | np.ndarray, source: str) -> np.ndarray:
        """Held-out rows, converted as the step does; what is drawn depends only on the row's number."""
        self.check(array, rows, source)
        if self.scale is not None:
            array = array.astype(np.float32) * self.scale
        return drawn(array, rows, seed=0).astype(np.float32) if self.binarize else array

    def in_step(self, batch: tt.TensorVariable, rng: Any, batch_size: int | None = None) -> tt.TensorVariable:
        """The expression of the scaled and binarised batch.

        Parameters
        ----------
        batch : theano.tensor.TensorVariable, (batch, *row_shape)
        rng : theano.sandbox.rng_mrg.MRG_RandomStreams
        batch_size : int or None
            None if it varies.
        """
        if self.scale is not None:
            batch = tt.cast(batch, "float32") * self.scale
        if self.binarize:
            size = batch.shape if batch_size is None else (batch_size, *self.row_shape)
            batch = tt.cast(rng.uniform(size, dtype="float32") < batch, "float32")
        return batch

    def example(self, array: np.ndarray) -> np.ndarray:
        """The test value of that expression, with values binarised at 0.5."""
        if self.scale is not None:
            array = array.astype(np.float32) * self.scale
        return (array > 0.5).astype(np.float32) if self.binarize else array
