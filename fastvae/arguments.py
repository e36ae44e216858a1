"""Checks of values that stand inside another argument, or that depend on one; `fastvae.kinds` checks whole calls.

Each returns the value in its standard form or raises ConfigurationError.

Examples
--------
>>> pair("Conv2D", "stride", 2)
(2, 2)
>>> resolve_padding("Conv2D", "same", kernel=(3, 5))
(1, 2)
"""

import numpy as np

from fastvae import kinds
from fastvae.errors import ConfigurationError

GENERATOR = kinds.instance("generator", "a numpy.random.Generator", np.random.Generator)
#: What `generator` takes.
RNG = kinds.optional(kinds.either(kinds.seed, GENERATOR))
#: What `resolve_padding` takes.
PADDING = kinds.either(kinds.choice("valid", "same"), kinds.pair_from_0)


def integer(owner, argument, value, minimum=1):
    """`value` as an int of at least `minimum`; bool and float are refused."""
    return kinds.integer(minimum).check(owner, argument, value)


def pair(owner, argument, value, minimum=1):
    """`value`, one integer or a pair (rows, columns), as a pair of ints of at least `minimum`."""
    return (kinds.pair if minimum else kinds.pair_from_0).check(owner, argument, value)


def resolve_padding(owner, padding, kernel):
    """`padding` ("valid", "same", an integer or a pair) as a pair of ints, for a kernel (rows, columns).

    "valid" is no padding; "same" is (kernel - 1) / 2 on each side, which keeps the size at stride 1.
    """
    resolved = PADDING.check(owner, "padding", padding)
    if resolved == "valid":
        return 0, 0
    if resolved == "same":
        if any(size % 2 == 0 for size in kernel):
            raise ConfigurationError(
                f'{owner}: padding="same" needs an odd kernel, got {kernel[0]}x{kernel[1]}; give the padding as numbers'
            )
        return tuple((size - 1) // 2 for size in kernel)
    rows, columns = resolved
    if rows >= kernel[0] or columns >= kernel[1]:
        raise ConfigurationError(
            f"{owner}: padding={padding!r} must be smaller than the kernel {kernel[0]}x{kernel[1]} (more only adds "
            'outputs that see no input); padding="same" keeps the size'
        )
    return rows, columns


def shape_of_images(owner, argument, shape):
    """`shape` as a tuple (channels, rows, columns) of positive ints."""
    return kinds.shape_of_images.check(owner, argument, shape)


def generator(owner, rng):
    """`rng` (a numpy Generator, a seed, or None for fresh entropy) as a numpy Generator."""
    rng = RNG.check(owner, "seed", rng)
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
