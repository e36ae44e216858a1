"""Pipelines: what provides a minibatch variable with data, `variable.tag.pipeline`, as the training loop sees it.

    advance()           called before every step: a streamed pipeline puts the next minibatch in place
    state()             where the last minibatch that a step used left off, as JSON values and numpy arrays
    restore(state)      the next advance and step go on after that minibatch, in a new process too
    restorable          False if the data come from an iterator, which cannot be read again
    batches_per_epoch   steps in which every row is seen once; None if unknown, or if rows are drawn with replacement
    sources             what the rows come from: arrays, rows on disk, or a function
    close()             ends the reader's thread; the next advance starts another
    share(rank, size)   from now on it provides the rows of this rank alone; before the step is compiled
    begin(ranks)        this rank's place, from the place of the first one
    waits               whether advance may wait for data

`Resident` data are in device memory, and the step itself gathers its rows: its position is a shared variable which the
step updates, so its state only identifies the data. `Streamed` data are read ahead by a thread on the host.

Examples
--------
>>> import fastvae, theano
>>> x = fastvae.Minibatch(lambda epoch, start: range(start, 10), batch_size=4)
>>> step = theano.function([], x)
>>> for _ in range(3):
...     x.tag.pipeline.advance()
...     print(step())
[0 1 2 3]
[4 5 6 7]
[0 1 2 3]
>>> x.tag.pipeline.state()
{'data': [['int64', []]], 'batch_size': 4, 'last': 'drop', 'epoch': 1, 'start': 4}
>>> x.tag.pipeline.close()
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import theano
import theano.tensor as tt

from fastvae.errors import ConfigurationError, DataError
from fastvae.interrupts import while_waiting
from fastvae.minibatch import samplers
from fastvae.minibatch.feeds import Batch, FactoryFeed, IndexedFeed, Position
from fastvae.nn.collect import not_trainable
from fastvae.parallel import Ranks

LOOK_UP = 0.1  # seconds between two looks for a signal while waiting for data
FAREWELL = 0.3  # seconds that a reader's thread gets to end
RENAMED = {"order": "sampler"}  # older states have the first of these names
NOT_ADVANCED = (
    "this streamed fastvae.Minibatch has no new batch: the step is run by something else than fastvae.fit, such as "
    "stock pm.fit; train with fastvae.fit, or call variable.tag.pipeline.advance() before every step"
)

State = dict[str, Any]


def refuse_fixed_batch(pipelines: Iterable[Resident | Streamed], model: Any) -> None:
    """Raise ConfigurationError if a latent variable has the batch size in its `shape=`, but some batch is smaller.

    Parameters
    ----------
    pipelines : iterable of pipelines
    model : pymc3.Model
    """
    sizes = {pipeline.batch_size: pipeline for pipeline in pipelines if pipeline.varies}
    for variable in model.free_RVs:
        if variable.total_size is not None and variable.dshape[:1] and variable.dshape[0] in sizes:
            n_rows = variable.total_size if isinstance(variable.total_size, int) else variable.total_size[0]
            fixed = tuple(map(int, variable.dshape))  # numpy 2 would print np.int64(4)
            shape = (n_rows, *fixed[1:])
            raise ConfigurationError(
                f"{variable.name} has shape={fixed}, which fixes the batch size, but not every batch of the "
                f"{sizes[variable.dshape[0]]!r} has it: take last='drop', or declare shape={shape} (the size of a "
                "batch then comes from the encoder)"
            )


def refuse_uneven(pipelines: Iterable[Resident | Streamed]) -> None:
    """Raise ConfigurationError for what several ranks cannot share evenly.

    Parameters
    ----------
    pipelines : iterable of pipelines
    """
    for pipeline in pipelines:
        if not pipeline.restorable:
            raise ConfigurationError(
                f"parallel: the ranks cannot share a {pipeline!r}, whose iterator each of them would read by itself: "
                "give a factory make(epoch, start) in its place, or parallel=None"
            )
        if pipeline.varies and pipeline.batch_size is not None:
            raise ConfigurationError(
                f"parallel: the last minibatch of an epoch of a {pipeline!r} is smaller than the others, and ranks "
                'would weigh their rows unevenly: take last="drop"'
            )


class Resident:
    """A pipeline whose data are in device memory, where the step itself gathers the rows.

    Parameters
    ----------
    feed : fastvae.minibatch.feeds.IndexedFeed
        All its sources are arrays in memory.

    Attributes
    ----------
    batches : tuple of theano.tensor.TensorVariable
        A minibatch, a new one for each evaluation.

    Raises
    ------
    DataError
        If the arrays contain values that cannot be trained on.
    """

    restorable = True
    waits = False

    def __init__(self, feed: IndexedFeed) -> None:
        for source, values in zip(feed.sources, feed.values):
            values.check(source)
        self.batch_size, self.varies, self.batches_per_epoch = feed.batch_size, feed.varies, feed.batches_per_epoch
        self._identity, self._sampler = _identity(feed), feed.sampler
        self._shared = [not_trainable(theano.shared(source, name="minibatch.data")) for source in feed.sources]
        feed.sampler.indices.tag.in_range = True  # so that a GPU does not check them, for which the host would wait
        self.batches = tuple(rows[feed.sampler.indices] for rows in self._shared)
        for variable in self._shared:
            variable.tag.pipeline = self

    def __repr__(self) -> str:
        return f"resident minibatch ({_described(self._identity)})"

    @property
    def sources(self) -> list[np.ndarray]:
        """The arrays."""
        return [shared.get_value(borrow=True) for shared in self._shared]

    def advance(self) -> None:
        """Do nothing: the step draws its own rows."""

    def state(self) -> State:
        """What identifies the data."""
        return dict(self._identity)

    def restore(self, state: State) -> None:
        """Check that a state was taken from the same data; DataError if it was not."""
        _rest_of(state, self._identity, self)

    def close(self) -> None:
        """Do nothing: there is neither a thread nor a file."""

    def share(self, rank: int, size: int) -> None:
        """Let the step gather the rows of this rank alone."""
        samplers.share(self._sampler, rank, size)

    def begin(self, ranks: Ranks) -> None:
        """Give the sampler this rank's place in the epoch, of the first one's; collective."""
        sampler = self._sampler
        if sampler.batches_per_epoch is not None:  # else it is a random stream of the step
            state = ranks.from_first(sampler.state.get_value())
            sampler.state.set_value(samplers.started(sampler, state, ranks.rank, ranks.size))


class Streamed:
    """A pipeline whose minibatches a thread reads ahead, on which `advance` puts the next one in place.

    Parameters
    ----------
    feed : fastvae.minibatch.feeds.IndexedFeed or fastvae.minibatch.feeds.FactoryFeed
    examples : tuple of array
        One minibatch, which determines the types of the variables.

    Attributes
    ----------
    batches : tuple of theano.tensor.TensorVariable
        The current minibatch. It can be evaluated once: a second evaluation without `advance` raises AssertionError.
    """

    waits = True

    def __init__(self, feed: IndexedFeed | FactoryFeed, examples: Batch) -> None:
        self.batch_size, self.varies, self.batches_per_epoch = feed.batch_size, feed.varies, feed.batches_per_epoch
        self.restorable, self._feed, self._identity = feed.restorable, feed, _identity(feed)
        self.sources = feed.sources
        self._used = self._current = feed.start()  # the positions after the last batch used, and after the one in place
        self._reader: _Reader | None = None
        self._closed = False
        self._fresh = theano.shared(np.int8(0), name="minibatch.fresh")  # 1 if the one in place has not been used yet
        self._fresh.default_update = tt.zeros_like(self._fresh)
        self._shared = [
            not_trainable(theano.shared(example[:0], name="minibatch.data", broadcastable=(False,) * example.ndim))
            for example in examples
        ]
        assertion = tt.opt.Assert(NOT_ADVANCED)
        is_fresh = tt.eq(self._fresh, 1)
        # Of a variable on a GPU the assertion itself would be one, and a function return it as pygpu's array.
        self.batches = tuple(assertion(tt.as_tensor_variable(shared), is_fresh) for shared in self._shared)
        for shared in self._shared:
            shared.tag.pipeline = self

    def __repr__(self) -> str:
        return f"streamed minibatch ({_described(self._identity)})"

    def advance(self) -> None:
        """Put the next minibatch in place, unless the one that is there has not been used yet.

        Raises
        ------
        DataError
            If it cannot be read; the message names the file and the rows.
        fastvae.interrupts.Interrupted
            If Ctrl-C or SIGTERM arrives while a training waits for data.
        """
        if self._fresh.get_value():
            return
        self._used = self._current
        if self._reader is None:
            if self._closed and not self.restorable:
                raise DataError(f"{self!r} was closed, and what it had read ahead is gone: give a new iterator")
            self._reader = _Reader(self._feed, self._current)
            weakref.finalize(self, self._reader.release)
        batch, position = self._reader.next()
        for shared, array in zip(self._shared, batch):
            shared.set_value(array, borrow=True)
        self._fresh.set_value(np.int8(1))
        self._current = position

    def state(self) -> State:
        """Where the last minibatch that a step used left off."""
        return {**self._identity, **(self._used if self._fresh.get_value() else self._current)}

    def restore(self, state: State) -> None:
        """Go on after the minibatch of a state; DataError if it was taken from other data."""
        position = _rest_of(state, self._identity, self)
        alike = position.keys() == self._current.keys()
        if not alike or not all(map(_is_alike, position.values(), self._current.values())):
            raise DataError(f"{position!r} is not a state of the {self!r}: it is damaged")
        self.close()
        self._used = self._current = position
        self._fresh.set_value(np.int8(0))

    def close(self) -> None:
        """End the reader's thread, if there is one; the next `advance` reads again what it had read ahead."""
        self._closed = True
        if self._reader is not None:
            self._reader.stop()
            self._reader = None

    def share(self, rank: int, size: int) -> None:
        """Read the rows of this rank alone."""
        self.close()
        self._feed.share(rank, size)

    def begin(self, ranks: Ranks) -> None:
        """Take this rank's place in the data, of the first one's; collective."""
        position = ranks.from_first(self._used if self._fresh.get_value() else self._current)
        self.close()
        self._used = self._current = self._feed.started(position, ranks.rank, ranks.size)
        self._fresh.set_value(np.int8(0))


class _Reader:
    """A thread that keeps a bounded queue of minibatches full."""

    def __init__(self, feed: IndexedFeed | FactoryFeed, position: Position) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=2 * feed.ahead)
        self._stopped = threading.Event()
        self._failed: Exception | None = None
        arguments = (feed, position, self._queue, self._stopped)
        self._thread = threading.Thread(target=_read_ahead, args=arguments, name="fastvae.Minibatch", daemon=True)
        self._thread.start()

    def next(self) -> tuple[Batch, Position]:
        """The next minibatch, and the position after it."""
        while self._failed is None:
            try:
                entry = self._queue.get(timeout=LOOK_UP)
            except queue.Empty:
                while_waiting()
            else:
                if not isinstance(entry, Exception):
                    return entry
                self._failed = entry
        raise self._failed

    def release(self) -> None:
        """Tell the thread to end; any thread may call this."""
        self._stopped.set()
        while not self._queue.empty():  # a waiting put then succeeds, and the thread sees that it has to end
            self._queue.get_nowait()

    def stop(self) -> None:
        """End the thread. One that is waiting for its source ends when that answers, and drops what it reads then."""
        self.release()
        self._thread.join(FAREWELL)


def _read_ahead(
    feed: IndexedFeed | FactoryFeed, position: Position, entries: queue.Queue[Any], stopped: threading.Event
) -> None:
    """What the reader's thread runs: queue minibatches with their positions, or the exception that ended it."""
    try:
        for entry in feed.batches(**position):
            entries.put(entry)
            if stopped.is_set():
                return
    except Exception as error:  # `next` raises it in the training thread
        entries.put(error)
    except BaseException as error:  # such as the SystemExit of a user's function
        entries.put(DataError(f"Minibatch: the data's function ended its thread with {type(error).__name__}: {error}"))


def _identity(feed: IndexedFeed | FactoryFeed) -> State:
    """What must be the same in a state to be restored: types and shapes of the data, and how rows are drawn."""
    return {"data": [values.kind for values in feed.values], **feed.identity()}


def _rest_of(state: State, identity: State, pipeline: Resident | Streamed) -> State:
    """What a state contains besides the identity, which must be the pipeline's own; DataError otherwise."""
    state = {RENAMED.get(name, name): value for name, value in state.items()}
    found = {name: state.get(name) for name in identity}
    if found != identity:
        raise DataError(
            f"a state of other data ({_described(found)}) does not fit the {pipeline!r}: give the same data"
        )
    return {name: value for name, value in state.items() if name not in identity}


def _is_alike(value: Any, other: Any) -> bool:
    if isinstance(other, np.ndarray):
        return isinstance(value, np.ndarray) and (value.dtype, value.shape) == (other.dtype, other.shape)
    return type(value) is type(other) is int and value >= 0


def _described(identity: State) -> str:
    return ", ".join(f"{name} {value}" for name, value in identity.items())
