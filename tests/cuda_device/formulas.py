"""Batch normalisation and pooling in numpy, as cuDNN defines them; its numbers of their modes."""

import itertools

import numpy as np

PER_ACTIVATION, SPATIAL, PERSISTENT = range(3)
MAX, INCLUDING, EXCLUDING, DETERMINISTIC = range(4)


def parameters_of(shape, mode):
    return (1, *shape[1:]) if mode == PER_ACTIVATION else (1, shape[1], *[1] * (len(shape) - 2))


def axes_of(shape, mode):
    return (0,) if mode == PER_ACTIVATION else (0, *range(2, len(shape)))


def normalized(x, scale, bias, mode, epsilon):
    axes = axes_of(x.shape, mode)
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return scale * (x - mean) / np.sqrt(variance + epsilon) + bias, mean, variance


def gradients(x, scale, dy, mode, epsilon):
    """By x, by scale and by bias."""
    axes = axes_of(x.shape, mode)
    y, _, variance = normalized(x, 1, 0, mode, epsilon)
    mean_of = lambda values: values.mean(axes, keepdims=True)  # noqa: E731
    by_x = scale * (dy - mean_of(dy) - y * mean_of(dy * y)) / np.sqrt(variance + epsilon)
    return by_x, (dy * y).sum(axes, keepdims=True), dy.sum(axes, keepdims=True)


def out_size(size, window, padding, stride):
    return tuple(1 + (n + 2 * p - w) // s for n, w, p, s in zip(size, window, padding, stride, strict=True))


def windows(size, window, padding, stride):
    """For each place of the top the part of the image that it sees."""
    for place in itertools.product(*map(range, out_size(size, window, padding, stride))):
        starts = [at * s - p for at, s, p in zip(place, stride, padding, strict=True)]
        yield place, tuple(slice(max(at, 0), min(at + w, n)) for at, w, n in zip(starts, window, size, strict=True))


def pooled(image, top, mode, window, padding, stride):
    """The pooled image, and the gradient by the image of what is pooled times `top`."""
    value, gradient = np.zeros(top.shape), np.zeros(image.shape)
    for (h, w), (rows, columns) in windows(image.shape[2:], window, padding, stride):
        seen = image[:, :, rows, columns]
        if mode in (MAX, DETERMINISTIC):
            value[:, :, h, w] = seen.max((2, 3))
            flat = seen.reshape(*seen.shape[:2], -1).argmax(-1)  # numpy's is the first one, too
            for n, c in np.ndindex(flat.shape):
                row, column = np.unravel_index(flat[n, c], seen.shape[2:])
                gradient[n, c, rows.start + row, columns.start + column] += top[n, c, h, w]
            continue
        divisor = np.prod(window) if mode == INCLUDING else seen[0, 0].size
        value[:, :, h, w] = seen.sum((2, 3)) / divisor
        gradient[:, :, rows, columns] += (top[:, :, h, w] / divisor)[:, :, None, None]
    return value, gradient
