"""The discretised logistic likelihood in complex128: values, and gradients as the imaginary part of a complex step.

A function f that is real on the real line has f(x + ih) = f(x) + ih f'(x) + O(h^2), without any difference of values
(Squire and Trapp 1998, "Using complex variables to estimate derivatives of real functions").
"""

import numpy as np

STEP = 1e-100


def softplus(z):
    positive = z.real > 0
    return np.where(positive, z, 0) + np.log1p(np.exp(np.where(positive, -z, z)))


def log_sum_exp(z):
    highest = z.real.max(axis=2, keepdims=True)
    return np.log(np.exp(z - highest).sum(axis=2, keepdims=True)) + highest


def log_prob(x, outputs, components):
    """Nats (n, c, h, w) of images x under the decoder's outputs (n, c each, h, w), complex128."""
    n, c, height, width = x.shape
    parts = outputs.astype("complex128").reshape(n, c, -1, height, width)
    centre, log_scale = parts[:, :, :components], parts[:, :, components : 2 * components]
    log_scale = np.where(log_scale.real < -7, -7, np.where(log_scale.real > 7, 7, log_scale))
    y, half, per_scale = 2 * x[:, :, None].astype("float64") - 1, 1 / 255, np.exp(-log_scale)
    below_upper = -softplus((centre - y - half) * per_scale)
    above_lower = -softplus((y - half - centre) * per_scale)
    between = np.log(-np.expm1(-2 * half * per_scale))
    level = np.rint(255 * x)[:, :, None]
    nats = np.where(level == 0, below_upper, np.where(level == 255, above_lower, below_upper + above_lower + between))
    if components > 1:
        logits = parts[:, :, 2 * components :]
        nats = log_sum_exp(nats + logits - log_sum_exp(logits))
    return nats[:, :, 0]


def gradient(x, outputs, components, g):
    """g times the derivatives of the nats with respect to the outputs, float64 (n, c each, h, w)."""
    n, c, height, width = x.shape
    parts = outputs.astype("complex128").reshape(n, c, -1, height, width)
    slopes = np.empty(parts.shape)
    for k in range(parts.shape[2]):
        moved = parts.copy()
        moved[:, :, k] += 1j * STEP
        slopes[:, :, k] = g * log_prob(x, moved.reshape(outputs.shape), components).imag / STEP
    return slopes.reshape(outputs.shape)


def drawn(rng, shape, spread=1):
    """Images of shape (n, c, components, h, w) without its components, many pixels at the ends; outputs; a gradient."""
    n, c, components, height, width = shape
    levels = rng.choice([0, 255, *range(256)], p=[0.15, 0.15] + [0.7 / 256] * 256, size=(n, c, height, width))
    outputs = rng.normal(scale=spread, size=(n, c * (2 if components == 1 else 3 * components), height, width))
    g = rng.standard_normal((n, c, height, width))
    return (levels / 255).astype("float32"), outputs.astype("float32"), g.astype("float32")
