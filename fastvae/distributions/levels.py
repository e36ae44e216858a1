"""What the likelihoods of the 256 levels 0, 1/255, ... 1 of an 8-bit pixel share."""

from __future__ import annotations

import numpy as np
import theano
import theano.tensor as tt

from fastvae import kinds
from fastvae.distributions.likelihood import Likelihood
from fastvae.errors import DataError

LEVELS = 256


class LevelsLikelihood(Likelihood):
    """A likelihood of 256 levels: it refuses images with values between them."""

    @kinds.checked(images=kinds.anything, owner=kinds.text)
    def check(self, images: np.ndarray, owner: str) -> None:
        """Raise a DataError for floats between the levels."""
        if images.dtype == np.uint8:
            return
        scaled = images * np.float32(LEVELS - 1)
        if np.abs(scaled - np.rint(scaled)).max() > 1e-3:
            raise DataError(
                f"{owner}: the likelihood {self.name!r} is of the 256 levels of 8-bit images, and these are floats "
                "with values between them: give uint8 images, or round them by np.rint(255 * images) / 255"
            )

    def _by_parameter(self, output: tt.TensorVariable) -> tt.TensorVariable:
        """The decoder's output as (batch, H, W, C, n_outputs), which moves nothing where activations are NHWC."""
        output = output.dimshuffle(0, 2, 3, 1)
        channels = output.shape[3] // self.n_outputs
        return output.reshape((output.shape[0], output.shape[1], output.shape[2], channels, self.n_outputs))

    def _values_by_parameter(self, output: np.ndarray) -> np.ndarray:
        """The same of an array, as (batch, C, n_outputs, H, W)."""
        n, channels, rows, columns = output.shape
        return output.reshape(n, channels // self.n_outputs, self.n_outputs, rows, columns)


def log_sum_exp(x: tt.TensorVariable) -> tt.TensorVariable:
    """log of the sum of exp over the last axis; of one element it is that element."""
    if x.broadcastable[-1]:
        return x[..., 0]
    highest = theano.gradient.disconnected_grad(x.max(axis=-1, keepdims=True))
    total = tt.exp(x - highest).sum(axis=-1)
    # The total is at least 1; the maximum only keeps theano from rewriting the logarithm of a sum of exp.
    return tt.log(tt.maximum(total, np.float32(1))) + highest[..., 0]
