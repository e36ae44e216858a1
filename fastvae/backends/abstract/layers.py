"""Layers as functions with checked arguments: product, bias and activation in one abstract Op.

Examples
--------
>>> x, w = tt.tensor4("x", "float32"), tt.tensor4("w", "float32")
>>> y = conv2d(x, w, stride=2, padding=1, activation="relu")
>>> y.eval({x: np.ones((1, 1, 4, 4), "float32"), w: np.ones((1, 1, 3, 3), "float32")})[0, 0].tolist()
[[4.0, 6.0], [6.0, 9.0]]
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import theano.tensor as tt
from theano.tensor import TensorVariable

from fastvae import kinds
from fastvae.backends.abstract.conv import Conv, ConvTransposed
from fastvae.backends.abstract.dense import Dense
from fastvae.backends.abstract.op import ACTIVATIONS
from fastvae.errors import ConfigurationError

Pair: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = Pair | tuple[tuple[int, int], tuple[int, int]] | str


def _pair(name, value, least):
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in pair):
        found = kinds.plain(value)
        raise ConfigurationError(f"{name} must be an integer of at least {least} or a pair of them, got {found}")
    return tuple(int(v) for v in pair)


def _settings(stride, padding, dilation, groups, activation):
    if activation not in ACTIVATIONS:
        raise ConfigurationError(
            f"activation must be None, 'relu' or 'sigmoid', got {activation!r}: apply others to the result"
        )
    if not isinstance(groups, (int, np.integer)) or groups < 1:
        raise ConfigurationError(f"groups must be an integer of at least 1, got {kinds.plain(groups)}")
    if padding not in ("half", "full"):
        if isinstance(padding, str):
            raise ConfigurationError(f"padding must be an integer, a pair, 'half' or 'full', got {padding!r}")
        if np.ndim(padding) == 2:
            padding = tuple(_pair("padding", p, 0) for p in padding)
        else:
            padding = tuple((p, p) for p in _pair("padding", padding, 0))
    return dict(stride=_pair("stride", stride, 1), padding=padding, dilation=_pair("dilation", dilation, 1),
                groups=int(groups), activation=activation)  # fmt: skip


def _operands(ndim, x, w, b):
    operands = [tt.as_tensor_variable(v) for v in ((x, w) if b is None else (x, w, b))]
    for name, v, n in zip(("x", "w", "b"), operands, (ndim, ndim, 1)):
        if v.ndim != n or not v.dtype.startswith("float"):
            raise ConfigurationError(f"{name} must be a float tensor of {n} axes, got {v.type!r}")
    if len({v.dtype for v in operands}) > 1:
        raise ConfigurationError(f"x, w and b must share one dtype, got {', '.join(v.dtype for v in operands)}")
    return operands


def conv2d(
    x: Any,
    w: Any,
    b: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str | None = None,
) -> TensorVariable:
    """Convolution layer: cross-correlation (kernels are not flipped), bias and activation in one Op.

    Parameters
    ----------
    x : float tensor4, shape (N, C, H, W)
    w : float tensor4, shape (O, C / groups, kh, kw)
    b : float vector, shape (O,), optional
    stride, dilation : int or pair of int
    padding : int, pair of int, pair of pairs ((top, bottom), (left, right)), "half" or "full"
    groups : int
    activation : None, "relu" or "sigmoid"
        ReLU's gradient at exactly 0 is 0 (``tt.nnet.relu``: 0.5).

    Returns
    -------
    float tensor4, shape (N, O, H', W')

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, b = np.ones((1, 1, 3, 3), "float32"), np.ones((1, 1, 2, 2), "float32"), np.ones(1, "float32")
    >>> conv2d(x, w, b).eval().tolist()
    [[[[5.0, 5.0], [5.0, 5.0]]]]
    """
    return Conv(**_settings(stride, padding, dilation, groups, activation))(*_operands(4, x, w, b))


def conv_transpose2d(
    x: Any,
    w: Any,
    b: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str | None = None,
) -> TensorVariable:
    """Transposed convolution layer: the transpose of `conv2d`, bias and activation in one Op.

    Parameters
    ----------
    x : float tensor4, shape (N, C, H, W)
    w : float tensor4, shape (C, O / groups, kh, kw)
    b : float vector, shape (O,), optional
    stride, padding, dilation, groups, activation :
        As in `conv2d`; stride, padding and dilation are those of the convolution that this one transposes.

    Returns
    -------
    float tensor4, shape (N, O, H', W')
        ``H' = (H - 1) * stride - padding_top - padding_bottom + dilation * (kh - 1) + 1``.

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d(np.ones((1, 1, 1, 2), "float32"), np.ones((1, 1, 1, 2), "float32")).eval().tolist()
    [[[[1.0, 2.0, 1.0]]]]
    """
    return ConvTransposed(**_settings(stride, padding, dilation, groups, activation))(*_operands(4, x, w, b))


def dense(x: Any, w: Any, b: Any = None, activation: str | None = None) -> TensorVariable:
    """Dense layer: product, bias and activation in one Op.

    Parameters
    ----------
    x : float matrix, shape (N, n_in)
    w : float matrix, shape (n_in, n_out)
    b : float vector, shape (n_out,), optional
    activation : None, "relu" or "sigmoid"

    Returns
    -------
    float matrix, shape (N, n_out)

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, b = np.ones((1, 2), "float32"), np.eye(2, dtype="float32"), np.array([1, -3], "float32")
    >>> dense(x, w, b, activation="relu").eval().tolist()
    [[2.0, 0.0]]
    """
    return Dense(_settings(1, 0, 1, 1, activation)["activation"])(*_operands(2, x, w, b))
