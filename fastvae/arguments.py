"""Checks of constructor arguments: each returns the value in its standard form or raises ConfigurationError.

Examples
--------
>>> pair("Conv2D", "stride", 2)
(2, 2)
>>> resolve_padding("Conv2D", "same", kernel=(3, 5))
(1, 2)
"""
import operator

import numpy as np

from fastvae.errors import ConfigurationError


def integer(owner, argument, value, minimum=1):
    """`value` as an int of at least `minimum`; bool and float are refused."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < minimum:
        raise ConfigurationError(f"{owner}: {argument}={value!r} must be an integer of at least {minimum}")
    return number


def pair(owner, argument, value, minimum=1):
    """`value`, one integer or a pair (rows, columns), as a pair of ints of at least `minimum`."""
    values = (value, value) if not isinstance(value, (tuple, list)) else value
    if len(values) != 2:
        raise ConfigurationError(f"{owner}: {argument}={value!r} must be one integer or a pair (rows, columns)")
    return tuple(integer(owner, argument, number, minimum) for number in values)


def resolve_padding(owner, padding, kernel):
    """`padding` ("valid", "same", an integer or a pair) as a pair of ints, for a kernel (rows, columns).

    "valid" is no padding; "same" is (kernel - 1) / 2 on each side, which keeps the size at stride 1.
    """
    if isinstance(padding, str):
        if padding == "valid":
            return 0, 0
        if padding != "same":
            raise ConfigurationError(f'{owner}: padding={padding!r} must be "valid", "same", an integer or a pair')
        if any(size % 2 == 0 for size in kernel):
            raise ConfigurationError(
                f'{owner}: padding="same" needs an odd kernel, got {kernel[0]}x{kernel[1]}; give the padding as numbers'
            )
        return tuple((size - 1) // 2 for size in kernel)
    rows, columns = pair(owner, "padding", padding, minimum=0)
    if rows >= kernel[0] or columns >= kernel[1]:
        raise ConfigurationError(
            f"{owner}: padding={padding!r} must be smaller than the kernel {kernel[0]}x{kernel[1]} (more only adds "
            'outputs that see no input); padding="same" keeps the size'
        )
    return rows, columns


def shape_of_images(owner, argument, shape):
    """`shape` as a tuple (channels, rows, columns) of positive ints."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ConfigurationError(f"{owner}: {argument}={shape!r} must be (channels, rows, columns)")
    return tuple(integer(owner, argument, size) for size in shape)


def generator(owner, rng):
    """`rng` (a numpy Generator, a seed, or None for fresh entropy) as a numpy Generator."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None:
        rng = integer(owner, "seed", rng, minimum=0)
    return np.random.default_rng(rng)
