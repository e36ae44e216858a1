"""Initialisers: functions (shape, fan_in, fan_out, rng) -> float32 array of a parameter's first values.

`fan_in` and `fan_out` count the inputs that one output sees and the outputs that one input reaches;
`rng` is a numpy Generator.

Examples
--------
>>> import numpy as np
>>> weight = glorot_uniform((784, 128), 784, 128, np.random.default_rng(0))
>>> weight.dtype, bool(abs(weight).max() <= (6 / (784 + 128)) ** 0.5)
(dtype('float32'), True)
"""

import math

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
def glorot_uniform(shape, fan_in, fan_out, rng):
    """Uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16): keeps variances in both directions.

    Examples
    --------
    >>> glorot_uniform((2, 3), 2, 3, np.random.default_rng(0)).shape
    (2, 3)
    """
    limit = np.float32(math.sqrt(6 / (fan_in + fan_out)))
    return limit * (2 * rng.random(shape, dtype=np.float32) - 1)


@kinds.checked(**PARAMETER)
def he_normal(shape, fan_in, fan_out, rng):
    """Normal with standard deviation sqrt(2 / fan_in) (He et al. 2015, eq. 10): keeps variances forward through ReLUs.

    Examples
    --------
    >>> he_normal((2, 3), 2, 3, np.random.default_rng(0)).shape
    (2, 3)
    """
    return np.float32(math.sqrt(2 / fan_in)) * rng.standard_normal(shape, dtype=np.float32)


@kinds.checked(sd=kinds.number(above=0, like=0.01))
def normal(sd):
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

    def draw(shape, fan_in, fan_out, rng):
        return np.float32(sd) * rng.standard_normal(shape, dtype=np.float32)

    return draw


@kinds.checked(value=kinds.number())
def constant(value):
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

    def fill(shape, fan_in, fan_out, rng):
        return np.full(shape, value, dtype=np.float32)

    return fill


@kinds.checked(**{**PARAMETER, "rng": kinds.anything})
def zeros(shape, fan_in, fan_out, rng):
    """All zeros: the usual start of a bias.

    Examples
    --------
    >>> zeros((2,), 1, 1, None)
    array([0., 0.], dtype=float32)
    """
    return np.zeros(shape, dtype=np.float32)
