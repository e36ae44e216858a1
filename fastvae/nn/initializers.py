"""Initialisers: functions (shape, fan_in, fan_out, rng) -> float32 array of a parameter's first values.

`fan_in` is the number of inputs that one output depends on, `fan_out` the number of outputs that one input reaches, and
`rng` a numpy Generator.

Examples
--------
>>> import numpy as np
>>> weight = glorot_uniform((784, 128), 784, 128, np.random.default_rng(0))
>>> weight.dtype, bool(abs(weight).max() <= (6 / (784 + 128)) ** 0.5)
(dtype('float32'), True)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from fastvae import kinds
from fastvae.arguments import GENERATOR

PARAMETER = dict(
    shape=kinds.either(kinds.integer(0), kinds.sequence(kinds.integer(0), "integers of at least 0")),
    fan_in=kinds.number(above=0),
    fan_out=kinds.number(above=0),
    rng=GENERATOR,
)


@kinds.checked(**PARAMETER)
def glorot_uniform(shape: int | Sequence[int], fan_in: float, fan_out: float, rng: np.random.Generator) -> np.ndarray:
    """Uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16): preserves variances in both directions.

    Examples
    --------
    >>> glorot_uniform((2, 3), 2, 3, np.random.default_rng(0)).shape
    (2, 3)
    """
    limit = np.float32(math.sqrt(6 / (fan_in + fan_out)))
    return limit * (2 * rng.random(shape, dtype=np.float32) - 1)


@kinds.checked(**PARAMETER)
def he_normal(shape: int | Sequence[int], fan_in: float, fan_out: float, rng: np.random.Generator) -> np.ndarray:
    """Normal with standard deviation sqrt(2 / fan_in) (He et al. 2015, eq. 10): preserves variances through ReLUs.

    Examples
    --------
    >>> he_normal((2, 3), 2, 3, np.random.default_rng(0)).shape
    (2, 3)
    """
    return np.float32(math.sqrt(2 / fan_in)) * rng.standard_normal(shape, dtype=np.float32)


@kinds.checked(sd=kinds.number(above=0, like=0.01))
def normal(sd: float) -> Callable[..., np.ndarray]:
    """The initialiser that draws from a normal distribution with mean 0 and standard deviation `sd` > 0.

    Raises
    ------
    ConfigurationError
        If `sd` is not a positive finite number.

    Examples
    --------
    >>> normal(0.01)((2, 3), 2, 3, np.random.default_rng(0)).shape
    (2, 3)
    """

    def draw(shape: Sequence[int], fan_in: float, fan_out: float, rng: np.random.Generator) -> np.ndarray:
        return np.float32(sd) * rng.standard_normal(shape, dtype=np.float32)

    return draw


@kinds.checked(value=kinds.number())
def constant(value: float) -> Callable[..., np.ndarray]:
    """The initialiser that sets every element to the finite number `value`.

    Raises
    ------
    ConfigurationError
        If `value` is not a finite number.

    Examples
    --------
    >>> constant(0.5)((2,), 1, 1, None)
    array([0.5, 0.5], dtype=float32)
    """

    def fill(shape: Sequence[int], fan_in: float, fan_out: float, rng: object) -> np.ndarray:
        return np.full(shape, value, dtype=np.float32)

    return fill


@kinds.checked(**{**PARAMETER, "rng": kinds.anything})
def zeros(shape: int | Sequence[int], fan_in: float, fan_out: float, rng: object) -> np.ndarray:
    """All zeros, as biases usually start.

    Examples
    --------
    >>> zeros((2,), 1, 1, None)
    array([0., 0.], dtype=float32)
    """
    return np.zeros(shape, dtype=np.float32)


@kinds.checked(**{**PARAMETER, "rng": kinds.anything})
def ones(shape: int | Sequence[int], fan_in: float, fan_out: float, rng: object) -> np.ndarray:
    """All ones, as the scale of a `BatchNorm` usually starts.

    Examples
    --------
    >>> ones((2,), 1, 1, None)
    array([1., 1.], dtype=float32)
    """
    return np.ones(shape, dtype=np.float32)
