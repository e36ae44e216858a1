"""Expressions that regions compute, and their truth in numpy: for `program.py`, on the tests' device.

`CASES`: name -> (function of Theano's variables, function of numpy's arrays, shapes). Arrays of floats are float64 for
numpy. An argument whose name of a dtype follows its shape is of that dtype.
"""

import numpy as np
import theano.tensor as tt
from theano.tensor.nnet import sigmoid, softplus


def _rows(x, numbers):
    numbers = tt.as_tensor_variable(numbers)
    numbers.tag.in_range = True
    return x[numbers]


def _set(x, y, place):
    return tt.set_subtensor(x[place], y)


def _numpy_set(x, y, place, adds=False):
    x = x.copy()
    x[place] = x[place] + y if adds else y
    return x


MATRIX, IMAGES = (7, 5), (3, 4, 5, 6)
CASES = {
    # Element by element, broadcast in every way.
    "rows and columns": (lambda x, r, c: tt.exp(x) * r + c, lambda x, r, c: np.exp(x) * r + c, MATRIX, (5,), (7, 1)),
    "a scalar": (lambda x, s: x / s, lambda x, s: x / s, MATRIX, ()),
    "constants": (lambda x: x * np.float32(-1e-30) + np.float32(np.inf), lambda x: x * np.inf * 0 + np.inf, (4,)),
    "not a number": (lambda x: x * np.float32(np.nan), lambda x: x * np.nan, (4,)),
    "bytes": (lambda b: tt.cast(b, "float32") * np.float32(1 / 255), lambda b: b / 255, (9, "uint8")),
    "whole numbers": (lambda k: (k * 3) % 7 + k // 2, lambda k: (k * 3) % 7 + k // 2, (300, "int64")),
    "comparisons": (lambda x: tt.switch(tt.gt(x, 0), x, -x), np.abs, MATRIX),
    # Views: the elements at other places.
    "transposed": (lambda x: x.T + 1, lambda x: x.T + 1, MATRIX),
    "axes in another order": (
        lambda x: x.dimshuffle(2, 0, 3, 1) * 2,
        lambda x: x.transpose(2, 0, 3, 1) * 2,
        IMAGES,
    ),
    "reshaped": (lambda x: x.T.reshape((5, 7)) * 2, lambda x: x.T.reshape(5, 7) * 2, MATRIX),
    "a part": (lambda x: x[2:-1, 1:] - 1, lambda x: x[2:-1, 1:] - 1, MATRIX),
    "a row and a column": (lambda x: x[-1] * x[0, 2], lambda x: x[-1] * x[0, 2], MATRIX),
    "a part of a view": (lambda x: (x.T[1:, 2] * 3)[::1], lambda x: x.T[1:, 2] * 3, MATRIX),
    # Arrays put together.
    "joined": (
        lambda x, y: tt.concatenate([tt.sin(x), y[:2], x], axis=0),
        lambda x, y: np.concatenate([np.sin(x), y[:2], x]),
        *((3, 4), (5, 4)),
    ),
    "joined along the last axis": (
        lambda x, y: tt.concatenate([x, tt.zeros_like(y[:, :0]), y], axis=1) ** 2,
        lambda x, y: np.concatenate([x, y], axis=1) ** 2,
        *((3, 4), (3, 2)),
    ),
    "set at a part": (
        lambda x, y: _set(x, tt.exp(y), np.s_[1:3, 2:]),
        lambda x, y: _numpy_set(x, np.exp(y), np.s_[1:3, 2:]),
        *(MATRIX, (2, 3)),
    ),
    "set at a row": (lambda x, y: _set(x, y, 3) * 2, lambda x, y: _numpy_set(x, y, 3) * 2, MATRIX, (5,)),
    "added at a column": (
        lambda x, y: tt.inc_subtensor(x[:, -2], tt.exp(y)),
        lambda x, y: _numpy_set(x, np.exp(y), np.s_[:, -2], adds=True),
        *(MATRIX, (7,)),
    ),
    "into zeros": (
        lambda x: tt.set_subtensor(tt.zeros((9, 8), "float32")[2:9, 1:6], tt.exp(x)),
        lambda x: np.pad(np.exp(x), ((2, 0), (1, 2))),
        MATRIX,
    ),
    "every second place of zeros": (
        lambda x: tt.set_subtensor(tt.zeros((20, 5), "float32")[1:14:2], tt.exp(x)),
        lambda x: _numpy_set(np.zeros((20, 5)), np.exp(x), np.s_[1:14:2]),
        MATRIX,
    ),
    "filled": (lambda x: tt.alloc(x, 3, 7, 5) + 1, lambda x: np.broadcast_to(x, (3, 7, 5)) + 1, MATRIX),
    "rows": (
        lambda x, k: _rows(x, k) * 2,
        lambda x, k: x[k % len(x)] * 2,
        *(MATRIX, (6, "int64")),
    ),
    "rows of images": (lambda x, k: _rows(x, k) + 1, lambda x, k: x[k % len(x)] + 1, IMAGES, (2, "int64")),
    # Sums and the like, along every kind of axes.
    **{
        f"sum over {axes}": (lambda x, axes=axes: tt.exp(x).sum(axes), lambda x, axes=axes: np.exp(x).sum(axes), IMAGES)
        for axes in (None, 0, 1, 3, (0, 1), (2, 3), (0, 2, 3), (1, 3), (0, 2), (0, 1, 3))
    },
    "sum of a long vector": (lambda x: abs(x).sum(), lambda x: abs(x).sum(), (70_001,)),
    "sums of long rows": (lambda x: (x * x).sum(1), lambda x: (x * x).sum(1), (3, 10_007)),
    "sums of long columns": (lambda x: x.sum(0), lambda x: x.sum(0), (10_007, 3)),
    "sums of many columns": (lambda x: x.sum(0), lambda x: x.sum(0), (3, 10_007)),
    "sum of squares": (lambda x: tt.sqr(x).sum((0, 2, 3)), lambda x: (x**2).sum((0, 2, 3)), IMAGES),
    "largest": (lambda x: x.max((1, 2, 3)), lambda x: x.max((1, 2, 3)), IMAGES),
    "smallest of columns": (lambda x: x.min(0), lambda x: x.min(0), MATRIX),
    "product": (lambda x: x.prod(1), lambda x: x.prod(1), MATRIX),
    "largest with a NaN": (
        lambda x: tt.concatenate([x, tt.log(-abs(x))], axis=0).max(0),
        lambda x: x.max(0) * np.nan,
        MATRIX,
    ),
    # Several results of one pass, and results of results.
    "softmax": (
        lambda x: (lambda e: e / e.sum(1, keepdims=True))(tt.exp(x - x.max(1, keepdims=True))),
        lambda x: (lambda e: e / e.sum(1, keepdims=True))(np.exp(x)),
        (33, 70),
    ),
    "layer normalised": (
        lambda x: (x - x.mean(1, keepdims=True)) / tt.sqrt(x.var(1, keepdims=True) + 1),
        lambda x: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1),
        (130, 90),
    ),
    "log density": (
        lambda x, m, r: (-0.5 * ((x - m) / softplus(r)) ** 2 - tt.log(softplus(r))).sum(),
        lambda x, m, r: (-0.5 * ((x - m) / np.log1p(np.exp(r))) ** 2 - np.log(np.log1p(np.exp(r)))).sum(),
        *((40, 300), (300,), (40, 1)),
    ),
    "sigmoid's gradient": (
        lambda x: (lambda s: (s * (1 - s)).sum(0) + s[0])(sigmoid(x)),
        lambda x: (lambda s: (s * (1 - s)).sum(0) + s[0])(1 / (1 + np.exp(-x))),
        (50, 120),
    ),
    # Nothing, and one.
    "no rows": (lambda x: tt.exp(x) + 1, lambda x: np.exp(x) + 1, (0, 4)),
    "sum of no rows": (lambda x: tt.exp(x).sum(0), lambda x: np.exp(x).sum(0), (0, 4)),
    "sum of no columns": (lambda x: tt.exp(x).sum(1), lambda x: np.exp(x).sum(1), (4, 0)),
    "axes of one": (
        lambda x: tt.exp(x).sum((0, 2)) * x[0, :, 0],
        lambda x: np.exp(x).sum((0, 2)) * x[0, :, 0],
        (1, 6, 1),
    ),
}


def values(shapes):
    """An array for every shape, each of its own numbers."""
    rng, found = np.random.default_rng(0), []
    for shape in shapes:
        if shape and isinstance(shape[-1], str):
            found.append(rng.integers(0, 200, shape[:-1]).astype(shape[-1]))
        else:
            found.append(rng.normal(size=shape).astype("float32"))
    if len(found) == 2 and found[1].dtype == "int64":  # row numbers
        found[1] %= len(found[0])
    return found
