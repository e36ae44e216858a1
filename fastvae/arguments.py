"""Checks of single values: those inside another argument, or that depend on one. `fastvae.kinds` checks whole calls.

Each returns the value in its standard form or raises ConfigurationError.

Examples
--------
>>> pair("Conv2D", "stride", 2)
(2, 2)
>>> resolve_padding("Conv2D", "same", kernel=(3, 5))
(1, 2)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae import kinds
from fastvae.errors import ConfigurationError

GENERATOR = kinds.instance("generator", "a numpy.random.Generator", np.random.Generator)
#: What `generator` takes.
RNG = kinds.optional(kinds.either(kinds.seed, GENERATOR))
#: What `resolve_padding` takes.
PADDING = kinds.either(kinds.choice("valid", "same"), kinds.pair_from_0)


def integer(owner: str, argument: str, value: Any, minimum: int = 1) -> int:
    """`value` as an int of at least `minimum`; bool and float are refused."""
    return kinds.integer(minimum).check(owner, argument, value)


def pair(owner: str, argument: str, value: Any, minimum: int = 1) -> tuple[int, int]:
    """`value`, one integer or a pair (rows, columns), as a pair of ints, each at least `minimum` (0 or 1)."""
    return (kinds.pair if minimum else kinds.pair_from_0).check(owner, argument, value)


def resolve_padding(owner: str, padding: Any, kernel: tuple[int, int], name: str = "kernel") -> tuple[int, int]:
    """`padding` ("valid", "same", an integer or a pair) as a pair of ints, for a kernel (rows, columns) of that name.

    "valid" is no padding; "same" is (kernel - 1) / 2 on each side, which keeps the size if the stride is 1.
    """
    resolved = PADDING.check(owner, "padding", padding)
    if resolved == "valid":
        return 0, 0
    if resolved == "same":
        if any(size % 2 == 0 for size in kernel):
            raise ConfigurationError(
                f'{owner}: padding="same" needs an odd {name}, got {kernel[0]}x{kernel[1]}; give the padding as numbers'
            )
        return (kernel[0] - 1) // 2, (kernel[1] - 1) // 2
    rows, columns = resolved
    if rows >= kernel[0] or columns >= kernel[1]:
        raise ConfigurationError(
            f"{owner}: padding={padding!r} must be smaller than the {name} {kernel[0]}x{kernel[1]}, since more only "
            'adds outputs that see no input; padding="same" keeps the size'
        )
    return rows, columns


def shape_of_images(owner: str, argument: str, shape: Any) -> tuple[int, int, int]:
    """`shape` as a tuple (channels, rows, columns) of positive ints."""
    return kinds.shape_of_images.check(owner, argument, shape)


def generator(owner: str, rng: Any) -> np.random.Generator:
    """`rng`, a numpy Generator, a seed, or None for fresh entropy, as a numpy Generator."""
    rng = RNG.check(owner, "seed", rng)
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
