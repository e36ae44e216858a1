"""Minibatch: random rows of arrays held in device memory, as a Theano expression.

It takes the place of `pymc3.Minibatch` in ``more_replacements`` and as ``observed``. The rows are
drawn uniformly with replacement inside the compiled step, so no data move between iterations.

Examples
--------
>>> import numpy as np, theano
>>> images, labels = Minibatch((np.random.rand(100, 1, 8, 8), np.arange(100)), batch_size=4, seed=1)
>>> step = theano.function([], [images, labels])
>>> images_now, labels_now = step()
>>> images_now.shape, images_now.dtype, labels_now.shape
((4, 1, 8, 8), dtype('float32'), (4,))
"""
import numpy as np
import theano
import theano.tensor as tt
from theano.sandbox.rng_mrg import MRG_RandomStreams

from fastvae.errors import DataError
from fastvae.nn.arguments import integer
from fastvae.nn.collect import not_trainable
from fastvae.pipelines import Resident

BITS = 24  # a float32 uniform in [0, 1) holds this many whole bits


def draw_indices(n_rows, batch_size, rng):
    """`batch_size` row numbers below `n_rows`, uniform with replacement, as an int64 vector expression.

    A float32 uniform has 24 bits, so scaling one reaches at most 2**24 rows. Two of them make one
    48-bit integer, whose remainder by `n_rows` favours no row by more than n_rows / 2**48.

    Parameters
    ----------
    n_rows : int
        At most 2**40 (beyond that the remainder is visibly uneven).
    batch_size : int
    rng : theano.sandbox.rng_mrg.MRG_RandomStreams

    Examples
    --------
    >>> draw_indices(40_000_000, 3, MRG_RandomStreams(1)).eval().dtype
    dtype('int64')
    """
    uniform = rng.uniform(size=(2, batch_size), dtype="float32")
    high, low = (tt.cast(uniform[row] * np.float32(2**BITS), "int64") for row in (0, 1))
    indices = (high * 2**BITS + low) % n_rows
    return tt.unbroadcast(indices, 0)


def Minibatch(data, batch_size, seed=42):
    """Random rows of `data`, drawn anew at each call of the compiled function that holds them.

    Parameters
    ----------
    data : array or tuple of arrays, each (N, ...)
        Floats become float32; integers and booleans (labels) keep their dtype. A tuple's arrays are
        drawn with the same row numbers.
    batch_size : int
        Rows of a minibatch.
    seed : int, optional
        Seed of this minibatch's own random numbers: minibatches of one seed draw the same rows
        as long as they are in the same function, or are called equally often. None is fresh entropy.

    Returns
    -------
    TensorVariable, (batch_size, ...), or a tuple of them
        With a test value, so that PyMC3 accepts it. `collect_params` leaves its data out.

    Raises
    ------
    ConfigurationError
        If `batch_size` or `seed` is out of its domain.
    DataError
        If an array is empty, of another length than the first, not numeric, or holds NaN or infinity.

    Notes
    -----
    Not for data that does not fit in the device's memory, nor when each epoch has to visit every
    row exactly once.

    Examples
    --------
    >>> x = Minibatch(np.arange(10.0), batch_size=3)
    >>> x.tag.test_value
    array([0., 1., 2.], dtype=float32)
    """
    arrays = data if isinstance(data, tuple) else (data,)
    if not arrays:
        raise DataError("Minibatch: data=() holds no array: give an array, or a tuple of arrays of one length")
    arrays = [_checked_array(array) for array in arrays]
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise DataError(f"Minibatch: the arrays hold {lengths} rows; arrays drawn together need one length")
    batch_size = integer("Minibatch", "batch_size", batch_size)
    shared = [not_trainable(theano.shared(array, name="minibatch.data")) for array in arrays]
    with theano.change_flags(compute_test_value="off"):
        indices = draw_indices(lengths[0], batch_size, _random_streams(seed))
        batches = tuple(rows[indices] for rows in shared)
    pipeline = Resident()
    for variable in (*shared, *batches):
        variable.tag.pipeline = pipeline
    for batch, array in zip(batches, arrays):
        batch.name = "minibatch"
        batch.tag.test_value = array[np.arange(batch_size) % len(array)]
    return batches if isinstance(data, tuple) else batches[0]


def _checked_array(array):
    array = np.asarray(array)
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"Minibatch: an array of shape {array.shape} holds no rows; it must be (N, ...) with N >= 1")
    if array.dtype.kind not in "fiub":
        raise DataError(f"Minibatch: an array is {array.dtype}, not of floats, integers or booleans: convert it first")
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
        finite = np.isfinite(array)
        if not finite.all():
            first = tuple(int(axis) for axis in np.argwhere(~finite)[0])
            raise DataError(
                f"Minibatch: an array of shape {array.shape} is {array[first]!r} at {first}; every value must be "
                "finite in float32: clean the data first"
            )
    return array


def _random_streams(seed):
    """MRG streams from any seed, as six words of numpy's SeedSequence within MRG31k3p's two moduli."""
    if seed is not None:
        seed = integer("Minibatch", "seed", seed, minimum=0)
    words = np.random.SeedSequence(seed).generate_state(6)
    return MRG_RandomStreams([int(word) % 2_147_462_578 + 1 for word in words])
