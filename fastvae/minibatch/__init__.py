"""Minibatch: the rows of a training step, as a Theano expression.

Use it instead of `pymc3.Minibatch`, in ``more_replacements`` and as ``observed``. Arrays are kept in device memory and
gathered inside the compiled step, so nothing is copied between iterations; a thread reads ahead rows on disk and what a
Python function yields.

    samplers        which rows come next
    feeds           where a streamed minibatch's rows come from
    values          what the numbers must be, and how the step converts them
    pipelines       all of it as the training loop sees it
    replacements    minibatches and data in the place of a model's inputs

Examples
--------
>>> import numpy as np, theano
>>> images, labels = Minibatch((np.random.rand(100, 1, 8, 8), np.arange(100)), batch_size=4, seed=1)
>>> step = theano.function([], [images, labels])
>>> images_now, labels_now = step()
>>> images_now.shape, images_now.dtype, labels_now.shape
((4, 1, 8, 8), dtype('float32'), (4,))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import theano

from fastvae import kinds, renamed
from fastvae.datasets.rows import Rows, as_rows
from fastvae.datasets.validation import as_batch
from fastvae.errors import ConfigurationError, DataError
from fastvae.minibatch import samplers
from fastvae.minibatch.feeds import FactoryFeed, IndexedFeed, one_shot
from fastvae.minibatch.pipelines import Resident, Streamed
from fastvae.minibatch.values import SCALE, Values
from fastvae.profiles import memory


def _or_for_each(kind: kinds.Kind) -> kinds.Kind:
    """One value of a kind, or a tuple of them, one for each array."""

    def standard(value: Any) -> Any:
        return tuple(map(kind.standard, value)) if isinstance(value, tuple) else kind.standard(value)

    return kinds.Kind(f"{kind.name} each", f"{kind.words}, or a tuple of these, one for each array", standard)


@renamed.arguments(order="sampler")
@kinds.checked(
    data=kinds.anything,
    batch_size=kinds.optional(kinds.size),
    seed=kinds.optional(kinds.seed),
    sampler=kinds.optional(kinds.choice("replacement", "epochs")),
    last=kinds.choice("drop", "keep"),
    scale=_or_for_each(SCALE),
    binarize=_or_for_each(kinds.boolean),
)
@memory.explained
def Minibatch(
    data: Any,
    batch_size: int | None,
    seed: int | None = 42,
    *,
    sampler: str | None = None,
    last: str = "drop",
    scale: float | None | tuple[float | None, ...] = None,
    binarize: bool | tuple[bool, ...] = False,
) -> Any:
    """Rows of `data`: new ones at each call of the compiled function that contains them.

    Parameters
    ----------
    data : array, rows on disk, function or iterator, or a tuple of arrays and rows on disk
        An array (N, ...), or what `fastvae.datasets.validation.numbers` converts to one, is kept in device memory.
        Floats become float32; integers and booleans (labels, images of bytes) keep their dtype, so uint8 images take a
        quarter of the memory. A `numpy.memmap`, an `h5py.Dataset`, a path, and what `fastvae.on_disk` opens are
        streamed.

        The members of a tuple are drawn with the same row numbers. A list of numbers, or of lists of numbers, is one
        array; a list of arrays of different shapes is treated as a tuple; a list of arrays of the same shape, which
        could be either, is an error.

        A function `make(epoch, start)` returns an iterable of the rows of an epoch (counted from 0) from row `start`
        on, which is empty if the epoch ends there. If the rows are tuples, the result is a tuple of minibatches. An
        iterator of rows is read once, so a training on it cannot be resumed.
    batch_size : int or None
        Rows of a minibatch. With None, the function or iterator yields whole minibatches, which `start` then counts.
    seed : int, optional
        Seed of this minibatch's own random numbers: minibatches with the same seed draw the same rows as long as they
        are in the same function, or are called equally often. None is fresh entropy.
    sampler : {"replacement", "epochs"}, optional
        "replacement" (the default) draws every row with equal probability each time; "epochs" takes each row once per
        epoch, in a new random order each time. Not for a function or iterator, which decides the order of its own rows.
        `order` is the old name of this argument.
    last : {"drop", "keep"}
        With epochs, whether to leave out the rows that do not fill a batch, or to end with a smaller batch. PyMC3's
        `total_size` factor follows the actual batch; a latent variable must not fix the batch size in its `shape=`.
        On CUDA a full and a smaller batch each have a CUDA graph with memory of its own.
    scale : float or None, optional
        A factor by which the step multiplies the values, float32: 1/255 for uint8 images. For several arrays a tuple,
        with None for those that stay as they are.
    binarize : bool, optional
        Whether every step draws each value as 0 or 1, float32, with the (scaled) value as the probability of 1. For
        several arrays a tuple.

    Returns
    -------
    TensorVariable, (batch_size, ...), or a tuple of them
        It has a test value, so that PyMC3 accepts it; `tag.pipeline`, which `fastvae.fit` drives (see
        `fastvae.minibatch.pipelines`); and `tag.values`, its `fastvae.minibatch.values.Values`. `collect_params` leaves
        out its data.

    Raises
    ------
    ConfigurationError
        If an argument is invalid.
    DataError
        If an array is empty, not numeric, contains NaN or infinity, or has another length than the first.

    Notes
    -----
    Streamed data need `fastvae.fit`: any other loop has to call ``variable.tag.pipeline.advance()`` before every
    evaluation; one that does not, such as stock `pm.fit`, ends with an AssertionError that says so. Rows on disk are
    drawn in the same order as those of an array with the same seed. Not for what fits in device memory: give an array.

    Examples
    --------
    >>> x = Minibatch(np.arange(10.0), batch_size=3)
    >>> x.tag.test_value
    array([0., 1., 2.], dtype=float32)
    >>> x = Minibatch(np.full((10, 1, 2, 2), 255, "uint8"), batch_size=5, sampler="epochs", scale=1 / 255)
    >>> x.tag.pipeline.batches_per_epoch, x.dtype, float(x.max().eval())
    (2, 'float32', 1.0)
    """
    with theano.change_flags(compute_test_value="off"):
        feed = _feed(data, batch_size, seed, sampler, last)
        examples = feed.peek()
        scales, binarizes = (
            _for_each(examples, feed.several, *option) for option in (("scale", scale), ("binarize", binarize))
        )
        feed.values = [Values.of(*options) for options in zip(examples, scales, binarizes)]
        resident = isinstance(feed, IndexedFeed) and not feed.streams
        pipeline = Resident(feed) if resident else Streamed(feed, examples)  # type: ignore[arg-type]
        rng = samplers.random_streams(seed, 1)
        fixed_size = None if feed.varies else feed.batch_size
        variables = tuple(
            values.in_step(batch, rng, fixed_size) for values, batch in zip(feed.values, pipeline.batches)
        )
    for variable, values, example in zip(variables, feed.values, examples):
        variable.name = "minibatch"
        variable.tag.test_value = values.example(example)
        variable.tag.pipeline, variable.tag.values = pipeline, values
    return variables if feed.several else variables[0]


def _feed(
    data: Any, batch_size: int | None, seed: int | None, sampler: str | None, last: str
) -> IndexedFeed | FactoryFeed:
    if callable(data) or hasattr(data, "__next__"):
        if sampler is not None:
            raise ConfigurationError(
                f"Minibatch: sampler={sampler!r} was given, but a function or iterator decides the order of its own "
                "rows: leave sampler= out"
            )
        return FactoryFeed(data if callable(data) else one_shot(data), batch_size, last, restorable=callable(data))
    several = _several(data)
    sources = [_source(part) for part in (data if several else (data,))]
    if not sources:
        raise DataError("Minibatch: data=() contains no array: give an array, or a tuple of arrays of one length")
    lengths = [len(source) for source in sources]
    if len(set(lengths)) > 1:
        raise DataError(f"Minibatch: the arrays have {lengths} rows, but arrays drawn together need one length")
    if batch_size is None:
        raise ConfigurationError("Minibatch: batch_size=None is for functions that yield minibatches: give an integer")
    if sampler == "epochs":
        rows = samplers.epochs(lengths[0], batch_size, seed, last)
    else:
        rows = samplers.replacement(lengths[0], batch_size, seed)
    return IndexedFeed(sources, rows, batch_size, several=several)


def _several(data: Any) -> bool:
    """Whether the data are several arrays: a tuple, or a list that cannot be anything else."""
    if not isinstance(data, list):
        return isinstance(data, tuple)
    shapes = [part.shape for part in data if isinstance(part, (np.ndarray, Rows)) and part.shape]
    if shapes and len(shapes) == len(data) and len(set(shapes)) == 1:
        raise DataError(
            f"Minibatch: a list of {len(data)} arrays of shape {shapes[0]} can be several arrays or the rows of one: "
            "give tuple(data) for a minibatch of each, or numpy.stack(data) for one of rows"
        )
    return bool(shapes)


def _source(part: Any) -> np.ndarray | Rows:
    """Rows on disk, or an array in memory of the type that minibatches have."""
    rows = as_rows(part)
    return as_batch(part, "Minibatch") if rows is None else rows


def _for_each(examples: Sequence[np.ndarray], several: bool, name: str, value: Any) -> tuple[Any, ...]:
    """An option's value for each array: it is given as one value for one array, and as a tuple for several."""
    default = {"scale": None, "binarize": False}[name]
    if isinstance(value, tuple):
        values = value if several else ()
    else:
        values = (value,) * len(examples) if value == default or not several else ()
    if len(values) != len(examples):
        form = f"a tuple of {len(examples)}, one for each array" if several else "one value for the one array"
        raise ConfigurationError(f"Minibatch: {name}={kinds.plain(value)} must be {form}")
    return values
