"""Checks of data: what arrays, images and labels may be, whichever way they arrive.

===============  =====================================================================================================
`numbers`        whatever holds numbers, as a plain array; everything else is an error that names the remedy
`as_batch`       the same, in the type in which a minibatch keeps it
`in_type`        the same, in a given type if that changes no value
`check_finite`   whether floats can be trained on
`as_images`      float32 (or uint8) (N, C, H, W) in [0, 1]; `check_images` and `pixels` are its parts for rows on disk
`as_labels`      int64 (N,)
===============  =====================================================================================================

Byte order, strides, the order of axes in memory and write protection never matter.

Examples
--------
>>> numbers(np.arange(3, dtype=">f8")[::-1]).tolist()
[2.0, 1.0, 0.0]
>>> numbers(np.ma.masked_values([1.0, -999.0], -999.0))
Traceback (most recent call last):
    ...
fastvae.errors.DataError: array: found a masked array, 1 of its 2 entries masked, the first at (1,): leave them out, ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastvae import kinds
from fastvae.errors import DataError, FastvaeError

REMEDIES = {
    "O": "numpy.stack(list(x)) joins rows of one shape, x.astype('float32') converts numbers",
    "V": "take one field, such as x['name']",
    "c": "take x.real, x.imag or abs(x)",
    "M": "convert it, such as with x.astype('int64')",
    "m": "convert it, such as with x.astype('int64')",
    "S": "convert it with x.astype('float32') if it holds numbers",
    "U": "convert it with x.astype('float32') if it holds numbers",
}
NESTED = (list, tuple, np.ndarray)


def numbers(data: Any, source: str = "array", scalar: bool = False) -> np.ndarray:
    """Data as a plain array of floats, integers or booleans in the machine's byte order.

    Parameters
    ----------
    data : array-like
        A numpy array, a masked array in which nothing is masked, (nested) lists or tuples of numbers, or anything that
        converts itself to an array: objects of pandas, xarray or torch, or `fastvae.datasets.rows.Rows`.
    source : str
        What error messages call the data.
    scalar : bool
        Whether a single number is admissible.

    Returns
    -------
    numpy.ndarray
        At least of rank 1, unless it is a scalar; not a copy if nothing had to be converted.

    Raises
    ------
    DataError
        If they are anything else, or empty.
    """
    array = _array(data, source)
    if not array.shape and not isinstance(data, (np.ndarray, np.generic)) and array.dtype.kind not in "fiub":
        raise DataError(f"{source}: found {type(data).__name__}, but data are an array or nested lists of numbers")
    check_numbers(array.dtype, array.shape, source, scalar)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_numbers(dtype: np.dtype, shape: tuple[int, ...], source: str, scalar: bool = False) -> None:
    """Raise DataError unless type and shape are those of rows of numbers."""
    if dtype.kind not in "fiub":
        raise DataError(f"{source}: found {dtype}, but data are floats, integers or booleans: {REMEDIES[dtype.kind]}")
    if not shape and not scalar:
        raise DataError(
            f"{source}: found a single number, but data are rows, (N, ...): give an array of rank 1 at least"
        )
    if 0 in shape:
        raise DataError(f"{source}: found an empty set, shape {shape}: give at least one row of at least one number")


def as_batch(data: Any, source: str = "array", scalar: bool = False) -> np.ndarray:
    """Data as a minibatch keeps them: floats as float32, integers and booleans in their own type; contiguous."""
    array = numbers(data, source, scalar)
    with np.errstate(over="ignore"):  # `check_finite` finds what becomes infinite
        return np.asarray(array, np.float32 if array.dtype.kind == "f" else array.dtype, order="C")


def check_finite(array: np.ndarray, source: str, rows: Sequence[int] | np.ndarray | None = None) -> None:
    """Raise DataError unless every value is finite.

    Parameters
    ----------
    array : numpy.ndarray
    source : str
    rows : sequence of int, optional
        The numbers that the array's rows have in the data, for naming the first bad value.
    """
    if array.dtype.kind == "f" and not (array.size and np.isfinite([array.min(), array.max()]).all()):
        refuse(~np.isfinite(array), array, source, rows, "every value must be finite in float32: clean the data first")


def in_type(data: Any, dtype: str, source: str = "array", scalar: bool = False) -> np.ndarray:
    """Data as an array of another type, if that changes nothing but the precision of floats.

    Parameters
    ----------
    data : array-like
        As `numbers` takes it.
    dtype : str
    source : str
        What error messages call the data.
    scalar : bool
        Whether a single number is admissible.

    Raises
    ------
    DataError
        If floats would become integers or integers (images of bytes, labels) floats, or a number does not fit the type.

    Examples
    --------
    >>> in_type(np.array([7], "uint8"), "int64")
    array([7])
    """
    array = numbers(data, source, scalar)
    wanted = np.dtype(dtype)
    if (array.dtype.kind == "f") != (wanted.kind == "f") or (wanted.kind == "b" and array.dtype.kind != "b"):
        how = "x / 255 for images of bytes, else " if array.dtype == np.uint8 else ""
        raise DataError(f"{source}: found {array.dtype} where {wanted} is needed: give {how}x.astype({wanted.name!r})")
    with np.errstate(over="ignore"):  # `check_finite` finds what becomes infinite
        converted = array.astype(wanted, copy=False)
    if wanted.kind == "f":
        check_finite(converted, source)
    else:
        refuse(converted != array, array, source, None, f"which {wanted} cannot hold: leave it out")
    return converted


def refuse(bad: Any, array: np.ndarray, source: str, rows: Sequence[int] | np.ndarray | None, rule: str) -> None:
    """Raise a DataError that names the first bad value and its place, if there is one."""
    if bad.any():
        first = tuple(int(axis) for axis in np.argwhere(bad)[0])
        place = first if rows is None else (int(rows[first[0]]), *first[1:])
        raise DataError(f"{source} is {kinds.plain(array[first])} at {place}; {rule}")


@kinds.checked(array=kinds.anything, source=kinds.text, keep_bytes=kinds.boolean, channels_last=kinds.boolean)
def as_images(array: Any, source: str = "array", keep_bytes: bool = False, channels_last: bool = False) -> np.ndarray:
    """Check images and convert them to float32 (N, C, H, W) in [0, 1].

    Parameters
    ----------
    array : array-like
        As `numbers` takes it, (N, H, W), (N, C, H, W) or (N, H, W, C) with C = 1 or 3; an axis 1 of length 1 or 3 is
        the channel. uint8 (which is divided by 255), bool (0 or 1), or float that is already in [0, 1].
    source : str
        What error messages call the images.
    keep_bytes : bool
        Whether uint8 stays uint8, which takes a quarter of the memory.
    channels_last : bool
        Whether rank 4 means (N, H, W, C) even if the second axis has the length 1 or 3.

    Returns
    -------
    numpy.ndarray
        float32 (or uint8) (N, C, H, W), C-contiguous; not a copy if nothing had to be converted.

    Raises
    ------
    DataError
        If they are not such images, or hold NaN, infinities or values outside [0, 1].

    Examples
    --------
    >>> as_images(np.full((2, 28, 28), 51, dtype="uint8")).shape
    (2, 1, 28, 28)
    """
    array = numbers(array, source)
    check_images(array.dtype, array.shape, source)
    if channels_last and array.ndim == 4:
        if array.shape[3] not in (1, 3):
            raise DataError(
                f"{source}: found shape {array.shape}, but with channels_last images are (N, H, W, C), with C = 1 or 3 "
                "channels: leave channels_last (--channels-last) out if they are (N, C, H, W)"
            )
        array = np.moveaxis(array, 3, 1)
    else:
        array = array.transpose(channels_first(array.shape))
    array = array[:, np.newaxis] if array.ndim == 3 else array
    if array.dtype == np.uint8:
        check_bytes([array], source)
    return pixels(array, source, keep_bytes)


def check_images(dtype: np.dtype, shape: tuple[int, ...], source: str) -> None:
    """Raise DataError unless type and shape are those of images."""
    if dtype != np.uint8 and dtype.kind not in "fb":
        raise DataError(
            f"{source}: found dtype {dtype}, but images are uint8 in 0..255, bool, or float in [0, 1]: "
            'convert with astype("uint8") if the values are whole numbers in 0..255'
        )
    if len(shape) not in (3, 4):
        raise DataError(
            f"{source}: found rank {len(shape)}, shape {shape}, but images are (N, H, W), (N, C, H, W) or "
            "(N, H, W, C): reshape, such as with images.reshape(-1, 28, 28)"
        )
    if len(shape) == 4 and shape[1] not in (1, 3) and shape[3] not in (1, 3):
        raise DataError(
            f"{source}: found shape {shape}, but images of rank 4 are (N, C, H, W) or (N, H, W, C), "
            "with C = 1 or 3 channels: take three, such as with images[..., :3] if a fourth is alpha"
        )


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The order of axes that turns (N, H, W, C) into (N, C, H, W); for other shapes, the order that they have."""
    if len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3):
        return 0, 3, 1, 2
    return tuple(range(len(shape)))


def check_bytes(blocks: Iterable[np.ndarray], source: str) -> None:
    """Raise DataError if uint8 images, given as arrays, contain only 0 and 1; stops at the first larger value."""
    if max((block.max() for block in _until(lambda block: block.max() > 1, blocks)), default=0) == 1:
        raise DataError(
            f"{source}: found uint8 values of 0 and 1 only, but uint8 is read as 0..255: convert binary images with "
            "astype(bool)"
        )


def pixels(array: np.ndarray, source: str, keep_bytes: bool = False) -> np.ndarray:
    """The values of images of any rank as float32 in [0, 1] (or uint8), C-contiguous; DataError if some lie outside."""
    if array.dtype == np.uint8:
        if keep_bytes:
            return np.ascontiguousarray(array)
        array = np.divide(array, np.float32(255), dtype=np.float32)
    elif array.dtype.kind == "f":
        _check_range(array, source)
    return np.ascontiguousarray(array, dtype=np.float32)


def as_labels(array: Any, source: str, n_images: int) -> np.ndarray:
    """Check labels and convert them to int64 (N,).

    Parameters
    ----------
    array : array-like
        Whole numbers of any type, (N,) or (N, 1), or one-hot rows (N, K).
    source : str
        What error messages call the labels.
    n_images : int
        How many there must be.

    Raises
    ------
    DataError
        If they are anything else.

    Examples
    --------
    >>> as_labels([[0.0, 1.0], [1.0, 0.0]], "labels", 2)
    array([1, 0])
    """
    array = numbers(array, source)
    found = f"{source}: found dtype {array.dtype} and shape {array.shape}"
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all():
        array = array.argmax(axis=1)
    if array.ndim != 1:
        raise DataError(f"{found}, but labels are whole numbers, (N,) or (N, 1), or one-hot rows, (N, K)")
    if len(array) != n_images:
        raise DataError(f"{source}: found {len(array)} labels for {n_images} images: there must be one for each")
    whole = array.dtype.kind != "f" or (np.abs(array) < 2.0**63).all() and (array == np.rint(array)).all()
    if not whole or array.dtype == np.uint64 and array.max() >= 2**63:
        raise DataError(
            f"{found}, but labels are whole numbers in the range of int64: round them or number the classes"
        )
    return array.astype(np.int64)


def _array(data: Any, source: str) -> np.ndarray:
    """Whatever converts itself to an array, as a plain one of any type."""
    if callable(getattr(data, "toarray", None)):
        raise DataError(f"{source}: found a sparse {type(data).__name__}, but data are dense: give x.toarray()")
    if isinstance(data, (str, bytes, os.PathLike)):
        raise DataError(f"{source}: found {data!r}, not an array: fastvae.datasets.load and fastvae.on_disk read files")
    if isinstance(data, (list, tuple)):
        data = [_array(part, source) if _is_array_like(type(part)) else part for part in data]
        _shape(data, source)
    try:
        array = np.asanyarray(data)
    except FastvaeError:  # from rows on disk
        raise
    except Exception as error:  # an object's own conversion may raise anything
        reason = " ".join(str(error).split())
        what = f"{source}: found {type(data).__name__}, which cannot be converted to an array ({reason})"
        raise DataError(f"{what}: convert it yourself") from error
    _refuse_masked(array, source)
    return np.asarray(array)


def _refuse_masked(array: np.ndarray, source: str) -> None:
    if isinstance(array, np.ma.MaskedArray) and array.dtype.kind in "fiub":
        mask = np.ma.getmaskarray(array)
        if mask.any():
            first = tuple(int(axis) for axis in np.argwhere(mask)[0])
            raise DataError(
                f"{source}: found a masked array, {np.count_nonzero(mask)} of its {mask.size} entries masked, the "
                f"first at {first}: leave them out, or fill them with x.filled(value)"
            )


def _shape(data: Any, source: str) -> tuple[int, ...]:
    """The shape of nested lists; DataError for masked entries and unequal lengths, which numpy would ignore."""
    if isinstance(data, np.ndarray):
        _refuse_masked(data, source)
        return data.shape
    if not isinstance(data, (list, tuple)):
        return tuple(getattr(data, "shape", ()))
    if not any(issubclass(kind, NESTED) or _is_array_like(kind) for kind in set(map(type, data))):
        return (len(data),)
    shapes = {_shape(member, source) for member in data}
    if len(shapes) > 1:
        first, second, *_ = sorted(shapes)
        raise DataError(
            f"{source}: found a list of members of different shapes, {first} and {second}: rows need one shape"
        )
    return (len(data), *shapes.pop())


def _is_array_like(kind: type) -> bool:
    return hasattr(kind, "__array__") and not issubclass(kind, np.generic)


def _until(found: Callable[[np.ndarray], bool], blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The blocks up to and including the first for which `found` is true."""
    for block in blocks:
        yield block
        if found(block):
            return


def _check_range(array: np.ndarray, source: str) -> None:
    """Raise DataError if floats are not finite or lie outside [0, 1]."""
    low, high = array.min(), array.max()
    if not np.isfinite(low) or not np.isfinite(high):
        count = array.size - np.count_nonzero(np.isfinite(array))
        raise DataError(
            f"{source}: found {count} NaN or infinite of {array.size} values, but float images are finite and in [0, 1]"
        )
    if low < 0 or high > 1:
        raise DataError(
            f"{source}: found values from {low:g} to {high:g}, but float images are in [0, 1]: rescale them, such as "
            "with (images - images.min()) / (images.max() - images.min())"
        )
