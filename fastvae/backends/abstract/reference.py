"""What convolutions and activations are, in numpy: the definition behind the abstract Ops' `perform`.

Plain loops over the kernel's positions; exact in whatever dtype they are given, and slow. All are described in the
convolution's own terms: an image (N, C, H, W), weights (O, C / groups, kh, kw) and the output (N, O, H', W').
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from scipy.special import expit

Sizes: TypeAlias = tuple[int, ...]
Padding: TypeAlias = tuple[tuple[int, int], ...] | str


def activate(y: np.ndarray, activation: Any) -> np.ndarray:
    """y, or in its place its ReLU, its sigmoid, or what another scalar Op makes of each element."""
    if activation is None:
        return y
    if activation == "relu":
        return np.maximum(y, 0, out=y)
    if activation == "sigmoid":
        return expit(y, out=y)
    y.flat = [activation.impl(value) for value in y.flat]
    return y


def pads(padding: Padding, kernel: Sizes, dilation: Sizes) -> Any:
    """((top, bottom), (left, right)) for a padding that may be "half" or "full"."""
    if isinstance(padding, tuple):
        return padding
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    return tuple((e // 2,) * 2 if padding == "half" else (e - 1,) * 2 for e in extents)


def _patches(padded, kernel, out_size, stride, dilation):
    """For each kernel position (i, j), the view of the padded image that it meets."""
    for i, j in np.ndindex(*kernel):
        rows, columns = (
            slice(o * d, o * d + (n - 1) * s + 1, s) for o, d, n, s in zip((i, j), dilation, out_size, stride)
        )
        yield i, j, padded[:, :, :, rows, columns]


def _grouped(a, axis, groups):
    return a.reshape(a.shape[:axis] + (groups, a.shape[axis] // groups) + a.shape[axis + 1 :])


def _pad(image, pad, groups):
    return _grouped(np.pad(image, ((0, 0), (0, 0), *pad)), 1, groups)


def out_size(image_size: Sizes, kernel: Sizes, padding: Padding, stride: Sizes, dilation: Sizes) -> Sizes:
    """(H', W') of a convolution's output."""
    return tuple(
        (n + sum(p) - ((k - 1) * d + 1)) // s + 1
        for n, k, p, s, d in zip(image_size, kernel, pads(padding, kernel, dilation), stride, dilation)
    )


def forward(
    image: np.ndarray,
    weights: np.ndarray,
    padding: Padding,
    stride: Sizes,
    dilation: Sizes,
    groups: int,
    flip: bool,
) -> np.ndarray:
    """The convolution (`flip`: with kernels turned round, as in mathematics; else cross-correlation)."""
    kernel = weights.shape[2:]
    size = out_size(image.shape[2:], kernel, padding, stride, dilation)
    w = _grouped(weights[:, :, ::-1, ::-1] if flip else weights, 0, groups)
    padded = _pad(image, pads(padding, kernel, dilation), groups)
    out = np.zeros((len(image), groups, w.shape[1], *size), np.result_type(image, weights))
    for i, j, patch in _patches(padded, kernel, size, stride, dilation):
        out += np.einsum("ngchw,goc->ngohw", patch, w[:, :, :, i, j], optimize=True)
    return out.reshape(len(image), len(weights), *size)


def image_gradient(
    top: np.ndarray,
    weights: np.ndarray,
    image_size: Sizes,
    padding: Padding,
    stride: Sizes,
    dilation: Sizes,
    groups: int,
    flip: bool,
) -> np.ndarray:
    """The convolution's transpose: the gradient with respect to its image, given that of its output, `top`."""
    kernel = weights.shape[2:]
    w = _grouped(weights[:, :, ::-1, ::-1] if flip else weights, 0, groups)
    pad = pads(padding, kernel, dilation)
    padded = np.zeros(
        (len(top), groups, w.shape[2], *(n + sum(p) for n, p in zip(image_size, pad))), np.result_type(top, weights)
    )
    g = _grouped(top, 1, groups)
    for i, j, patch in _patches(padded, kernel, top.shape[2:], stride, dilation):
        patch += np.einsum("ngohw,goc->ngchw", g, w[:, :, :, i, j], optimize=True)
    rows, columns = (slice(p[0], p[0] + n) for p, n in zip(pad, image_size))
    inside = padded[:, :, :, rows, columns]
    return np.ascontiguousarray(inside).reshape(len(top), -1, *image_size)


def weights_gradient(
    image: np.ndarray,
    top: np.ndarray,
    kernel: Sizes,
    padding: Padding,
    stride: Sizes,
    dilation: Sizes,
    groups: int,
    flip: bool,
) -> np.ndarray:
    """The gradient with respect to the weights, given that of the output, `top`."""
    padded = _pad(image, pads(padding, kernel, dilation), groups)
    g = _grouped(top, 1, groups)
    out = np.zeros((groups, g.shape[2], padded.shape[2], *kernel), np.result_type(image, top))
    for i, j, patch in _patches(padded, kernel, top.shape[2:], stride, dilation):
        out[:, :, :, i, j] = np.einsum("ngohw,ngchw->goc", g, patch, optimize=True)
    out = out.reshape(top.shape[1], -1, *kernel)
    return np.ascontiguousarray(out[:, :, ::-1, ::-1]) if flip else out
