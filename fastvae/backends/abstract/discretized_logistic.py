"""Device-free Ops of the discretised logistic likelihood: log-probabilities of 8-bit levels under logistic mixtures.

A level y = 2x - 1 has the mass of a logistic of mean m and scale 1 / p between y - w and y + w, w = 1/255, an outermost
level also what lies beyond. With u = ``p |y - m|``, h = p w, the sigmoid s and the symmetry of the logistic these are

- s(u + h) - s(u - h) = sinh h / (cosh u + cosh h) in between,
- s(h + u) at the lowest level if m is at or below it, and at the highest if m is above it,
- s(h - u) at the outermost levels otherwise.

With U = exp(-u) and H = exp(-h), whose differences to 1 come from expm1, all logarithms are sums of terms of one sign,
so that nothing cancels or overflows: -max(u - h, 0) - log1p(r), without the maximum in the case s(h + u), and with

- r = (max(U, H) H (H + U) + min(U, H) (1 + U H)) / (max(U, H) (1 - H) (1 + H)) in between, U H for s(h + u), and
  min(U, H) / max(U, H) for s(h - u).

Their derivatives with respect to u and h are, with D = (H + U) (1 + U H),

- -H (1 - U) (1 + U) / D and H (4 U H + (1 + U^2) (1 + H^2)) / ((1 - H) (1 + H) D) in between,
- U H / (1 + U H), both, for s(h + u), and -H / (H + U) and H / (H + U) for s(h - u).

The derivative with respect to m is -p sign(y - m) times that with respect to u, with sign(0) = 1. The one with respect
to the log scale is -u times that of u less h times that of h, and 0 beyond the clip of log scales. The logarithm of
a mixture is the log-sum-exp of log weight + log mass. Each logistic's derivatives are multiplied by its share of that
sum; its logit's derivative is the share less the weight.

Examples
--------
>>> x, outputs = np.full((1, 1, 1, 1), 127 / 255, "float32"), np.array([[[[0]], [[-100]]]], "float32")
>>> log_prob(x, outputs, components=1).eval().round(2)  # a narrow logistic between levels 127 and 128
array([[[[-0.69]]]], dtype=float32)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt
from theano.gradient import DisconnectedType

from fastvae.backends.abstract.pixels import PixelOp

LEVELS = 256  # of an 8-bit image
LARGEST_LOG_SCALE = 7  # of a logistic, and the smallest is its negative: beyond, float32 has no gradient to give
HALF_WIDTH = np.float32(1 / (LEVELS - 1))  # of a level among the y in [-1, 1]


def log_prob(x: Any, outputs: Any, components: int) -> Any:
    """Log-probability of each pixel's level, in nats.

    Parameters
    ----------
    x : float32 tensor4, (batch, C, H, W)
        Levels over 255, in [0, 1].
    outputs : float32 tensor4, (batch, 2 C, H, W) for one component, else (batch, 3 components C, H, W)
        Those of a channel side by side: means (of pixels in [-1, 1]), then log scales, which are clipped to [-7, 7],
        then, of several components, the unnormalised logarithms of their weights.
    components : int

    Returns
    -------
    float32 tensor4, (batch, C, H, W)
        Its gradient with respect to the outputs is the closed form above; there is none with respect to x.
    """
    return DiscretizedLogisticLogProb(components)(x, outputs)


class _OfLogistics(PixelOp):
    __props__ = ("components",)

    def __init__(self, components):
        self.components = components
        self.each = 2 if components == 1 else 3 * components
        self.constants = (components, HALF_WIDTH, LARGEST_LOG_SCALE)

    def logistics(self, lib, x, by_output):
        """Each logistic's log mass and its derivatives with respect to mean and log scale, all (batch, C, k, H, W)."""
        one, k = np.float32(1), self.components
        centre, log_scale = by_output[:, :, :k], by_output[:, :, k : 2 * k]
        limit = np.float32(LARGEST_LOG_SCALE)
        per_scale = lib.exp(-lib.clip(log_scale, -limit, limit))
        y = (x * np.float32(2) - one)[:, :, None, :, :]
        lowest, highest = y <= HALF_WIDTH - one, y >= one - HALF_WIDTH
        u, h = abs(y - centre) * per_scale, HALF_WIDTH * per_scale
        sign = lib.where(y >= centre, one, -one)
        beyond = lib.where(y >= centre, lowest, highest)  # the logistic's mean is, or at, an outermost level

        def choose(in_between, if_beyond, if_inside):
            return lib.where(beyond, if_beyond, lib.where(lowest | highest, if_inside, in_between))

        e_u, e_h, product = lib.exp(-u), lib.exp(-h), lib.exp(-u) * lib.exp(-h)
        larger, smaller = lib.maximum(e_u, e_h), lib.minimum(e_u, e_h)
        both, other = e_h + e_u, one + product  # D is their product
        width = -lib.expm1(-h) * (one + e_h)  # 1 - H^2
        rest = choose(
            (larger * e_h * both + smaller * other) / (larger * width),
            product,
            smaller / larger,
        )
        nats = -lib.where(beyond, np.float32(0), lib.maximum(u - h, np.float32(0))) - lib.log1p(rest)
        by_u = choose(e_h * lib.expm1(-u) * (one + e_u) / (both * other), product / other, -e_h / both)
        sum_of_4 = np.float32(4) * product + (one + e_u * e_u) * (one + e_h * e_h)
        by_h = choose(e_h * sum_of_4 / (width * both * other), product / other, e_h / both)
        clipped = (log_scale < -limit) | (log_scale > limit)
        by_log_scale = lib.where(clipped, np.float32(0), -(u * by_u + h * by_h))
        return nats, -per_scale * sign * by_u, by_log_scale

    def log_weights(self, lib, by_output):
        logits = by_output[:, :, 2 * self.components :]
        return logits - _log_sum_exp(lib, logits)


def _log_sum_exp(lib, a):
    """log of the sum of exp over the third axis, which stays."""
    highest = a.max(axis=2, keepdims=True)
    return lib.log(lib.exp(a - highest).sum(axis=2, keepdims=True)) + highest


class DiscretizedLogisticLogProb(_OfLogistics):
    """x, outputs -> the log-probability of each level."""

    row_inputs = (0, 1)

    def types(self, x, outputs):
        return [tt.TensorType("float32", x.broadcastable)()]

    def computed(self, lib, x, outputs):
        by_output = self.by_output(outputs)
        nats, _, _ = self.logistics(lib, x, by_output)
        if self.components > 1:
            nats = _log_sum_exp(lib, nats + self.log_weights(lib, by_output))
        return [nats[:, :, 0]]

    def grad(self, inputs, gradients):
        return [DisconnectedType()(), DiscretizedLogisticLogProbGradient(self.components)(*inputs, *gradients)]

    def connection_pattern(self, node):
        return [[False], [True]]

    def infer_shape(self, node, shapes):
        return [shapes[0]]


class DiscretizedLogisticLogProbGradient(_OfLogistics):
    """x, outputs, g -> g times the derivatives of the log-probabilities with respect to the outputs."""

    def types(self, x, outputs):
        return [outputs.type()]

    def computed(self, lib, x, outputs, g):
        by_output, g = self.by_output(outputs), g[:, :, None, :, :]
        nats, by_centre, by_log_scale = self.logistics(lib, x, by_output)
        if self.components == 1:
            parts = [g * by_centre, g * by_log_scale]
        else:
            log_weights = self.log_weights(lib, by_output)
            joint = nats + log_weights
            share = lib.exp(joint - _log_sum_exp(lib, joint))
            parts = [g * share * by_centre, g * share * by_log_scale, g * (share - lib.exp(log_weights))]
        return [lib.concatenate(parts, axis=2).reshape(outputs.shape)]

    def infer_shape(self, node, shapes):
        return [shapes[1]]
