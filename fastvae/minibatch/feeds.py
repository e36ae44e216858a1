"""Feeds: where a streamed pipeline's minibatches come from, on the host, in the reader's thread.

A feed's `batches(**position)` is an endless iterator of pairs: a minibatch (a tuple of arrays, one for each variable),
and the position from which another call would go on after that minibatch.

    IndexedFeed   rows of arrays or of `fastvae.datasets.rows.Rows`, which a sampler draws
    FactoryFeed   what a function `make(epoch, start)` yields, in the function's own order

Examples
--------
>>> from fastvae.minibatch.values import Values
>>> feed = FactoryFeed(lambda epoch, start: range(start, 5), batch_size=2)
>>> feed.values = [Values.of(example) for example in feed.peek()]
>>> batches = feed.batches()
>>> [next(batches) for _ in range(2)]
[((array([0, 1]),), {'epoch': 0, 'start': 2}), ((array([2, 3]),), {'epoch': 0, 'start': 4})]
>>> next(feed.batches(epoch=0, start=4))  # one row is left, too few for a batch: the next epoch begins
((array([0, 1]),), {'epoch': 1, 'start': 2})
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import theano

from fastvae.datasets.formats import reason
from fastvae.datasets.rows import Rows
from fastvae.datasets.validation import as_batch
from fastvae.errors import DataError, FastvaeError
from fastvae.minibatch import samplers

if TYPE_CHECKING:
    from fastvae.minibatch.samplers import Sampler
    from fastvae.minibatch.values import Values

# Bytes that one read aims at: each read has to wait several times for Python's lock, which a step holds.
BLOCK = 2**22

Batch = tuple[np.ndarray, ...]
Position = dict[str, Any]


class IndexedFeed:
    """Minibatches of the rows that a sampler draws.

    Parameters
    ----------
    sources : list of array or fastvae.datasets.rows.Rows
        All of one length.
    sampler : fastvae.minibatch.samplers.Sampler
    batch_size : int
    several : bool
        Whether the user gave a tuple.
    """

    restorable = True

    def __init__(
        self, sources: list[np.ndarray | Rows], sampler: Sampler, batch_size: int, several: bool = False
    ) -> None:
        self.sources, self.sampler, self.batch_size, self.several = sources, sampler, batch_size, several
        self.values: list[Values] = []  # one for each source, set once by `Minibatch`
        self.streams = any(isinstance(source, Rows) for source in sources)
        self.varies, self.batches_per_epoch = sampler.varies, sampler.batches_per_epoch
        row_bytes = sum(np.dtype(source.dtype).itemsize * math.prod(source.shape[1:]) for source in sources)
        self.ahead = int(np.clip(BLOCK // (row_bytes * batch_size), 1, 16))

    def identity(self) -> dict[str, Any]:
        """What must be the same in a state to be restored."""
        return {"rows": len(self.sources[0]), "batch_size": self.batch_size, "sampler": self.sampler.name}

    def peek(self) -> Batch:
        """A minibatch of the first rows."""
        indices = np.arange(self.batch_size) % len(self.sources[0])
        return tuple(_rows(source, indices) for source in self.sources)

    def start(self) -> Position:
        """The position before the first minibatch; compiles the sampler, before there is a thread that reads."""
        self._draw = theano.function([], self.sampler.indices)
        return {"place": self.sampler.state.get_value()}

    def share(self, rank: int, size: int) -> None:
        """Draw this rank's rows alone from now on; `started` says from where."""
        samplers.share(self.sampler, rank, size)
        if self.sampler.batches_per_epoch is not None:
            self._draw = theano.function([], self.sampler.indices)

    def started(self, position: Position, rank: int, size: int) -> Position:
        """The position from which a rank begins, of that of the first one."""
        return {"place": samplers.started(self.sampler, position["place"], rank, size)}

    def batches(self, place: Any) -> Iterator[tuple[Batch, Position]]:
        """Minibatches from a position on, of which `ahead` are read at a time."""
        self.sampler.state.set_value(np.asarray(place))
        while True:
            indices, states = zip(*((self._draw(), self.sampler.state.get_value()) for _ in range(self.ahead)))
            together = np.concatenate(indices)
            blocks = [_rows(source, together, values) for source, values in zip(self.sources, self.values)]
            start = 0
            for drawn, state in zip(indices, states):
                yield tuple(block[start : start + len(drawn)] for block in blocks), {"place": state}
                start += len(drawn)


class FactoryFeed:
    """Minibatches of what a function yields.

    Parameters
    ----------
    make : callable
        `make(epoch, start)` returns an iterable of the epoch's items from item `start` on, which is empty if the epoch
        ends there. An item is a row, or a tuple of rows that belong together; with `batch_size=None` it is a whole
        minibatch.
    batch_size : int or None
    last : {"drop", "keep"}
        Whether rows at the end of an epoch that do not fill a batch are left out, or make a smaller one.
    restorable : bool
        Whether `make` can be called again.
    """

    batches_per_epoch = None
    streams = True
    ahead = 2

    def __init__(
        self,
        make: Callable[[int, int], Iterable[Any]],
        batch_size: int | None,
        last: str = "drop",
        restorable: bool = True,
    ) -> None:
        self._make, self.batch_size, self._last, self.restorable = make, batch_size, last, restorable
        self.sources = [make]
        self.varies = batch_size is None or last == "keep"
        self.values: list[Values] = []  # one for each part of an item, set once by `Minibatch`
        self.several = False  # whether the items are tuples
        self._rank, self._ranks = 0, 1

    def identity(self) -> dict[str, Any]:
        """What must be the same in a state to be restored."""
        return {"batch_size": self.batch_size, "last": self._last}

    def peek(self) -> Batch:
        """An example of a minibatch: the first item, or that row repeated."""
        items = self._items(0, 0)
        item = next(items, None)
        if item is None:
            raise DataError("Minibatch: the data's function or iterator yields nothing; it must yield rows")
        if not self.restorable:
            self._make = one_shot(itertools.chain([item], items))
        if self.batch_size is None:
            return item
        return tuple(np.repeat(row[np.newaxis], self.batch_size, axis=0) for row in item)

    def start(self) -> Position:
        """The position before the first minibatch."""
        return {"epoch": 0, "start": 0}

    def share(self, rank: int, size: int) -> None:
        """Take every `size`-th minibatch alone from now on."""
        self._rank, self._ranks = rank, size

    def started(self, position: Position, rank: int, size: int) -> Position:
        """The position from which a rank begins: that of all."""
        return position

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Batch, Position]]:
        """Minibatches from item `start` of the epoch on; of several ranks, each takes its share of the next items."""
        size = (self.batch_size or 1) * self._ranks
        mine = slice(self._rank * size // self._ranks, (self._rank + 1) * size // self._ranks)
        while True:
            begun_at, any_yielded = start, False
            items = self._items(epoch, start)
            while chunk := list(itertools.islice(items, size)):
                if len(chunk) < size and (self._last == "drop" or self._ranks > 1):
                    break
                batch = self._joined(chunk[mine], epoch, start + mine.start)
                start += len(chunk)
                any_yielded = True
                yield batch, {"epoch": epoch, "start": start}
            if begun_at == 0 and not any_yielded:
                raise DataError(
                    f"Minibatch: epoch {epoch} of the data's function yields {len(chunk)} items, too few for a batch "
                    f"of {size}: it must yield at least that many"
                )
            epoch, start = epoch + 1, 0

    def _items(self, epoch: int, start: int) -> Iterator[Batch]:
        """The items as tuples of arrays of the types that minibatches have."""
        try:
            for item in self._make(epoch, start):
                self.several = isinstance(item, tuple)
                name = f"Minibatch: item {start} of epoch {epoch} of the data's function"
                yield tuple(as_batch(part, name, scalar=True) for part in (item if self.several else (item,)))
                start += 1
        except FastvaeError:
            raise
        except Exception as error:  # a user's function may raise anything
            raise DataError(
                f"Minibatch: the data's function raised {type(error).__name__} at item {start} of epoch {epoch}: "
                f"{reason(error)}"
            ) from error

    def _joined(self, items: list[Batch], epoch: int, start: int) -> Batch:
        """One minibatch of a list of items, each of which is checked against the first of all."""
        for number, item in enumerate(items, start):
            if len(item) != len(self.values):
                raise DataError(
                    f"Minibatch: item {number} of epoch {epoch} has {len(item)} parts, the first {len(self.values)}: "
                    "all need the same number"
                )
            for part, values in zip(item, self.values):
                rows = part[np.newaxis] if self.batch_size else part
                values.check(rows, source=f"Minibatch: item {number} of epoch {epoch} of the data's function")
        return tuple(np.stack(parts) for parts in zip(*items)) if self.batch_size else items[0]


def one_shot(iterator: Iterator[Any]) -> Callable[[int, int], Iterator[Any]]:
    """An iterator as a function for `FactoryFeed`, with just one epoch."""

    def make(epoch: int, start: int) -> Iterator[Any]:
        if epoch:
            raise DataError(
                "Minibatch: the data's iterator ended: train for fewer steps, or give a function make(epoch, start) "
                "that returns an iterator for each epoch"
            )
        return iterator

    return make


def _rows(source: np.ndarray | Rows, indices: np.ndarray, values: Values | None = None) -> np.ndarray:
    """Rows of a source, checked, in the type that minibatches have; errors name the source and the rows."""
    name = source.source if isinstance(source, Rows) else type(source).__name__
    rows = as_batch(source[indices], name)
    if values is not None:
        values.check(rows, indices, name)
    return rows
