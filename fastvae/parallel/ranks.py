"""`Ranks`: all that a training knows of the processes that train together. One process alone is the simplest kind.

What is collective has to be called by every rank, in the same order.

Examples
--------
>>> ALONE.size, ALONE.is_first, ALONE.everyone("a"), ALONE.on_first(lambda: 3)
(1, True, ['a'], 3)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


class Ranks:
    """One process alone.

    Attributes
    ----------
    rank : int
        This process's number, from 0.
    size : int
        How many there are.
    wish : bool
        Whether this rank wants the training to end: the others learn it with the next step.
    stopping : bool
        Whether a rank wanted it in the last step; the same on every rank.
    """

    rank: int = 0
    size: int = 1
    wish: bool = False
    stopping: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and lines."""
        return self.rank == 0

    def meet(self) -> None:
        """Wait until every rank has come here, without keeping a core busy."""

    def from_first(self, value: T) -> T:
        """The first rank's value, on every rank (collective)."""
        return value

    def on_first(self, function: Callable[[], T]) -> T:
        """What a function returns on the first rank, on every rank; what it raises there, too (collective)."""
        return function()

    def everyone(self, value: T) -> list[T]:
        """The values of all ranks in their order, on every rank (collective)."""
        return [value]

    def to_first(self, value: T) -> list[T]:
        """The values of all ranks in their order on the first one, on the others an empty list (collective)."""
        return [value]

    def average(self, values: Sequence[np.ndarray], out: Sequence[np.ndarray]) -> None:
        """Write the mean over the ranks of each array to `out`, which may be the arrays themselves (collective).

        The wishes to end go with it.
        """
        for value, target in zip(values, out):
            if target is not value:
                target[...] = value

    def any(self, wish: bool) -> bool:
        """Whether it holds on any rank (collective)."""
        return wish

    def check_alike(self, described: dict[str, Any]) -> None:
        """Raise ConfigurationError on every rank if something differs between them (collective)."""

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Run the block on the first rank, and then on the others (collective)."""
        yield

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """End all ranks if the block fails on some: see `fastvae.parallel.mpi`."""
        yield

    @contextlib.contextmanager
    def watched(self, timeout: float) -> Iterator[None]:
        """Within the block, name a rank for which the others have waited so many seconds, and end all of them."""
        yield


ALONE = Ranks()
