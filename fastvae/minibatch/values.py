"""Values: what a minibatch's numbers have to be, and what the step makes of them (scaled, binarised).

Examples
--------
>>> values = Values.of(np.array([[0, 255]], "uint8"), scale=1 / 255)
>>> values.in_step(tt.as_tensor(np.array([[0, 255]], "uint8")), rng=None).eval()
array([[0., 1.]], dtype=float32)
"""

from typing import NamedTuple

import numpy as np
import theano.tensor as tt

from fastvae import kinds
from fastvae.datasets import validation
from fastvae.datasets.binary import drawn
from fastvae.errors import DataError

SCALE = kinds.optional(kinds.number(above=0, like="1/255"))


class Values(NamedTuple):
    """One array of a minibatch.

    Attributes
    ----------
    dtype : str
    row_shape : tuple of int
    scale : numpy.float32 or None
    binarize : bool
    """

    dtype: str
    row_shape: tuple
    scale: "np.float32 | None"
    binarize: bool

    @classmethod
    def of(cls, example, scale=None, binarize=False):
        """Those of an array (..., *row_shape); ConfigurationError if an option is out of its domain."""
        scale = SCALE.check("Minibatch", "scale", scale)
        binarize = kinds.boolean.check("Minibatch", "binarize", binarize)
        scale = None if scale is None else np.float32(scale)
        return cls(str(np.dtype(example.dtype)), tuple(example.shape[1:]), scale, binarize)

    @property
    def kind(self):
        """Type and shape, as JSON can hold them."""
        return [self.dtype, list(self.row_shape)]

    def check(self, array, rows=None, source=None):
        """Raise DataError unless the array holds such rows, finite, and in [0, 1] where they are probabilities.

        Parameters
        ----------
        array : numpy.ndarray, (batch, *row_shape)
        rows : sequence of int, optional
            Their numbers in the data, and
        source : str, optional
            what these are called, for the message.
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

    def once(self, array, rows, source):
        """Held-out rows as the step makes them; what is drawn depends on the row's number alone."""
        self.check(array, rows, source)
        if self.scale is not None:
            array = array.astype(np.float32) * self.scale
        return drawn(array, rows, seed=0).astype(np.float32) if self.binarize else array

    def in_step(self, batch, rng, batch_size=None):
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

    def example(self, array):
        """The test value of that expression: values binarised at 0.5."""
        if self.scale is not None:
            array = array.astype(np.float32) * self.scale
        return (array > 0.5).astype(np.float32) if self.binarize else array
