"""Feeds: where a streamed pipeline's minibatches come from, on the host, in the reader's thread.

A feed's `batches(memory)` yields, without end, pairs of a minibatch (a tuple of arrays, one a variable) and the memory
from which another call continues behind that minibatch.

    IndexedFeed   rows of arrays or of `fastvae.datasets.rows.Rows`, which a sampler draws
    FactoryFeed   what a function `make(epoch, start)` yields, in its own order

Examples
--------
>>> from fastvae.minibatch.values import Values
>>> feed = FactoryFeed(lambda epoch, start: range(start, 5), batch_size=2)
>>> feed.values = [Values.of(example) for example in feed.peek()]
>>> batches = feed.batches()
>>> [next(batches) for _ in range(2)]
[((array([0, 1]),), {'epoch': 0, 'start': 2}), ((array([2, 3]),), {'epoch': 0, 'start': 4})]
>>> next(feed.batches(epoch=0, start=4))  # the last row fills no batch: the next epoch begins
((array([0, 1]),), {'epoch': 1, 'start': 2})
"""

import itertools
import math

import numpy as np
import theano

from fastvae.datasets.formats import reason
from fastvae.datasets.rows import Rows
from fastvae.datasets.validation import as_batch
from fastvae.errors import DataError, FastvaeError

BLOCK = 2**22  # bytes that one read aims at: the reader needs Python's lock, which a step holds, several times a read


class IndexedFeed:
    """Minibatches of the rows that a sampler draws.

    Parameters
    ----------
    sources : list of array or fastvae.datasets.rows.Rows
        Of one length.
    sampler : fastvae.minibatch.samplers.Sampler
    batch_size : int
    several : bool
        Whether the user gave a tuple.
    """

    restorable = True

    def __init__(self, sources, sampler, batch_size, several=False):
        self.sources, self.sampler, self.batch_size, self.several = sources, sampler, batch_size, several
        self.values = None  # what is known of each array, set once by `Minibatch`
        self.streams = any(isinstance(source, Rows) for source in sources)
        self.varies, self.batches_per_epoch = sampler.varies, sampler.batches_per_epoch
        row_bytes = sum(np.dtype(source.dtype).itemsize * math.prod(source.shape[1:]) for source in sources)
        self.ahead = int(np.clip(BLOCK // (row_bytes * batch_size), 1, 16))

    def identity(self):
        """What a state has to agree in."""
        return {"rows": len(self.sources[0]), "batch_size": self.batch_size, "sampler": self.sampler.name}

    def peek(self):
        """A minibatch of the first rows."""
        indices = np.arange(self.batch_size) % len(self.sources[0])
        return tuple(_rows(source, indices) for source in self.sources)

    def start(self):
        """The memory before the first minibatch; compiles the sampler, which theano can do in one thread only."""
        self._draw = theano.function([], self.sampler.indices)
        return {"place": self.sampler.memory.get_value()}

    def batches(self, place):
        """Minibatches behind that memory, read `ahead` at a time."""
        self.sampler.memory.set_value(np.asarray(place))
        while True:
            indices, memories = zip(*((self._draw(), self.sampler.memory.get_value()) for _ in range(self.ahead)))
            together = np.concatenate(indices)
            blocks = [_rows(source, together, values) for source, values in zip(self.sources, self.values)]
            start = 0
            for drawn, memory in zip(indices, memories):
                yield tuple(block[start : start + len(drawn)] for block in blocks), {"place": memory}
                start += len(drawn)


class FactoryFeed:
    """Minibatches of what a function yields.

    Parameters
    ----------
    make : callable
        `make(epoch, start)` returns an iterable of the epoch's items from item `start` on (none, if the epoch ends
        there). An item is a row, or a tuple of rows that belong together; with `batch_size=None` a whole minibatch.
    batch_size : int or None
    last : {"drop", "keep"}
        What becomes of rows at the end of an epoch that fill no batch.
    restorable : bool
    """

    batches_per_epoch = None
    streams = True
    ahead = 2

    def __init__(self, make, batch_size, last="drop", restorable=True):
        self._make, self.batch_size, self._last, self.restorable = make, batch_size, last, restorable
        self.sources = [make]
        self.varies = batch_size is None or last == "keep"
        self.values = None  # what is known of each array, set once by `Minibatch`
        self.several = False  # whether the items are tuples

    def identity(self):
        """What a state has to agree in."""
        return {"batch_size": self.batch_size, "last": self._last}

    def peek(self):
        """A minibatch like the first: the first item itself, or its row as often as needed."""
        items = self._items(0, 0)
        item = next(items, None)
        if item is None:
            raise DataError("Minibatch: the data's function or iterator yields nothing; it must yield rows")
        if not self.restorable:
            self._make = one_shot(itertools.chain([item], items))
        if self.batch_size is None:
            return item
        return tuple(np.repeat(row[np.newaxis], self.batch_size, axis=0) for row in item)

    def start(self):
        """The memory before the first minibatch."""
        return {"epoch": 0, "start": 0}

    def batches(self, epoch=0, start=0):
        """Minibatches from item `start` of the epoch on."""
        size = self.batch_size or 1
        while True:
            begun_at, fruitful = start, False
            items = self._items(epoch, start)
            while chunk := list(itertools.islice(items, size)):
                if len(chunk) < size and self._last == "drop":
                    break
                batch = self._joined(chunk, epoch, start)
                start += len(chunk)
                fruitful = True
                yield batch, {"epoch": epoch, "start": start}
            if begun_at == 0 and not fruitful:
                raise DataError(
                    f"Minibatch: epoch {epoch} of the data's function yields {len(chunk)} items, too few for a batch "
                    f"of {size}: it must yield that many at least"
                )
            epoch, start = epoch + 1, 0

    def _items(self, epoch, start):
        """The items as tuples of arrays in the type of a minibatch."""
        try:
            for item in self._make(epoch, start):
                self.several = isinstance(item, tuple)
                name = f"Minibatch: item {start} of epoch {epoch} of the data's function"
                yield tuple(as_batch(part, name, scalar=True) for part in (item if self.several else (item,)))
                start += 1
        except FastvaeError:
            raise
        except Exception as error:  # whatever a user's function raises
            raise DataError(
                f"Minibatch: the data's function raised {type(error).__name__} at item {start} of epoch {epoch}: "
                f"{reason(error)}"
            ) from error

    def _joined(self, items, epoch, start):
        """One minibatch of a list of items, each checked by the first."""
        for number, item in enumerate(items, start):
            if len(item) != len(self.values):
                raise DataError(
                    f"Minibatch: item {number} of epoch {epoch} has {len(item)} parts, the first {len(self.values)}"
                )
            for part, values in zip(item, self.values):
                rows = part[np.newaxis] if self.batch_size else part
                values.check(rows, source=f"Minibatch: item {number} of epoch {epoch} of the data's function")
        return tuple(np.stack(parts) for parts in zip(*items)) if self.batch_size else items[0]


def one_shot(iterator):
    """An iterator as a factory; it has one epoch."""

    def make(epoch, start):
        if epoch:
            raise DataError(
                "Minibatch: the data's iterator ended: train for fewer steps, or give a function make(epoch, start) "
                "that returns an iterator for each epoch"
            )
        return iterator

    return make


def _rows(source, indices, values=None):
    """Rows of a source, in the type of a minibatch and checked; an error names the source and the rows."""
    name = source.source if isinstance(source, Rows) else type(source).__name__
    rows = as_batch(source[indices], name)
    if values is not None:
        values.check(rows, indices, name)
    return rows
