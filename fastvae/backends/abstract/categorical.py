"""Device-free Ops of the categorical likelihood: log-probabilities of pixel levels under the softmax of their logits.

Examples
--------
>>> x, logits = np.zeros((1, 1, 1, 1), "float32"), np.log(np.array([[[[3]], [[1]]]], "float32"))
>>> log_prob(x, logits, levels=2).eval().round(4)  # log(3 / 4)
array([[[[-0.2877]]]], dtype=float32)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt
from theano.gradient import DisconnectedType

from fastvae.backends.abstract.pixels import PixelOp


def log_prob(x: Any, logits: Any, levels: int) -> Any:
    """Log-probability of each pixel's level, in nats.

    Parameters
    ----------
    x : float32 tensor4, (batch, C, H, W)
        Levels over `levels` - 1, in [0, 1].
    logits : float32 tensor4, (batch, C levels, H, W)
        Unnormalised logarithms of the levels' probabilities, those of a channel side by side.
    levels : int

    Returns
    -------
    float32 tensor4, (batch, C, H, W)
        Its gradient with respect to the logits is 1 at the level, less the softmax; there is none with respect to x.
    """
    return CategoricalLogProb(levels)(x, logits)[0]


class _OfLevels(PixelOp):
    __props__ = ("levels",)

    def __init__(self, levels):
        self.levels = self.each = levels
        self.constants = (levels,)

    def is_level(self, lib, x):
        """Whether a level is the pixel's, (batch, C, levels, H, W)."""
        level = lib.round(x * np.float32(self.levels - 1))
        return lib.eq(level[:, :, None, :, :], self.all()) if lib is tt else level[:, :, None, :, :] == self.all()

    def all(self):
        return np.arange(self.levels, dtype=np.float32)[:, None, None]


class CategoricalLogProb(_OfLevels):
    """x, logits -> the log-probability of each level, and the logarithm of the sum of exp of its logits."""

    row_inputs = (0, 1)

    def types(self, x, logits):
        return [tt.TensorType("float32", x.broadcastable)() for _ in range(2)]

    def computed(self, lib, x, logits):
        by_level = self.by_output(logits)
        highest = by_level.max(axis=2)
        total = lib.log(lib.exp(by_level - highest[:, :, None, :, :]).sum(axis=2)) + highest
        chosen = lib.where(self.is_level(lib, x), by_level, np.float32(0)).sum(axis=2)
        return [chosen - total, total]

    def grad(self, inputs, gradients):
        x, logits = inputs
        total = self(x, logits)[1]
        g = CategoricalLogProbGradient(self.levels)(x, logits, total, gradients[0])
        return [DisconnectedType()(), g]

    def connection_pattern(self, node):
        return [[False, False], [True, False]]

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[0]]


class CategoricalLogProbGradient(_OfLevels):
    """x, logits, the logarithms of their sums of exp, g -> g (1 at the level, less the softmax)."""

    def types(self, x, logits):
        return [logits.type()]

    def computed(self, lib, x, logits, total, g):
        share = lib.exp(self.by_output(logits) - total[:, :, None, :, :])
        is_level = lib.where(self.is_level(lib, x), np.float32(1), np.float32(0))
        return [(g[:, :, None, :, :] * (is_level - share)).reshape(logits.shape)]

    def infer_shape(self, node, shapes):
        return [shapes[1]]
