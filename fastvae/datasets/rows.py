"""Rows on disk: what a streamed minibatch reads from, without loading all of it into memory.

`on_disk` opens a file or folder. The result has `shape`, `dtype` and `len` like an array; indexing it with an array of
row numbers or with a slice reads these rows, and `numpy.asarray` reads them all. Images are (N, C, H, W), whatever the
order of their axes in the file.

====================  =========================================================================================
``*.npy``             one array, mapped
``*.h5``, ``*.hdf5``  one HDF5 dataset; needs h5py
a directory           of images, one row each in the order of their names, or of a folder of images for each class
any other file        one IDX file, mapped; it must not be gzipped
====================  =========================================================================================

Examples
--------
>>> import os, tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "images.npy")
>>> np.save(path, np.zeros((100, 28, 28), "uint8"))
>>> rows = on_disk(path)
>>> rows.shape, rows.dtype, rows[np.array([3, 5])].shape
((100, 1, 28, 28), dtype('uint8'), (2, 1, 28, 28))
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import kinds
from fastvae.datasets import folders, formats, hdf5, validation
from fastvae.errors import DataError, FastvaeError

if TYPE_CHECKING:
    import h5py

BLOCK = 2**24  # bytes of one read when all rows are read in turn


@kinds.checked(path=kinds.path, key=kinds.optional(kinds.text))
def on_disk(path: str | os.PathLike[str], key: str | None = None) -> Rows:
    """Open a file or folder for a streamed `fastvae.Minibatch`.

    Parameters
    ----------
    path : str or path-like
        As in the table of the module; endings may be in upper case.
    key : str, optional
        Name of the dataset in an HDF5 file; needed if there are several.

    Returns
    -------
    Rows
        Those of a folder with a subfolder for each class also have `classes`, the sorted names of the subfolders, and
        `labels`, int64 (N,), each an index into `classes`.

    Raises
    ------
    DataError
        If it does not exist, is damaged, compressed as a whole or not a regular file, or contains no rows of numbers.

    Notes
    -----
    Not for what fits in memory: `fastvae.datasets.load` reads that once and checks every value. An uncompressed file
    has no checksum, so a changed pixel goes unnoticed; header, type, shape and length are checked.

    Examples
    --------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "labels.npy")
    >>> np.save(path, np.arange(5))
    >>> on_disk(path)[np.array([4, 0])]
    array([4, 0])
    """
    path = os.path.expanduser(os.fspath(path))
    if formats.suffix(path) in hdf5.SUFFIXES:
        return HDF5Rows(hdf5.dataset(path, key))
    if key is not None:
        raise DataError(f"key={key!r} names a dataset of an HDF5 file, which {path!r} is not: leave it out")
    if os.path.isdir(path):
        return ImageFolder(path)
    if formats.suffix(path) == ".npz":
        raise DataError(f"{path!r} is an archive, whose rows cannot be read one by one: save each array as .npy")
    read = formats.read_npy if formats.suffix(path) == ".npy" else formats.read_idx
    array, source = read(path, mapped=True)
    return MappedRows(array, path, source)


def as_rows(data: Any, images: bool = False) -> Rows | None:
    """`Rows` of data that are on disk; None if they are in memory.

    Parameters
    ----------
    data : object
        On disk are rows, a path, a `numpy.memmap` and an `h5py.Dataset`.
    images : bool
        Whether the last two contain images, see `Rows`.
    """
    if isinstance(data, Rows):
        return data
    if isinstance(data, (str, os.PathLike)):
        return on_disk(data)
    if isinstance(data, np.memmap) and data.filename is not None:  # one without a name is a copy in memory
        return MappedRows(data, data.filename, repr(os.fspath(data.filename)), images)
    h5py = sys.modules.get("h5py")
    if h5py is not None and isinstance(data, h5py.Dataset):
        return HDF5Rows(data, images)
    if h5py is not None and isinstance(data, h5py.Group):
        raise DataError(f"found {data!r}, needed is one of its datasets: take file[name], of {sorted(data)}")
    return None


class Rows:
    """Rows on disk: `shape`, `dtype`, `len(rows)`, and `rows[row numbers]`, which is a new array.

    Parameters
    ----------
    source : str
        What error messages call the data.
    shape : tuple of int
        As in the file.
    dtype : numpy.dtype
    images : bool
        Whether data of rank 3 get an axis for the channel, and a channel that is the last of 4 axes becomes the second.
    """

    labels: np.ndarray | None = None  #: int64 (N,), if subfolders tell the classes

    def __init__(self, source: str, shape: tuple[int, ...], dtype: np.dtype, images: bool = True) -> None:
        validation.check_numbers(dtype, shape, source)
        self.source, self.dtype = source, dtype.newbyteorder("=")
        self._axes = validation.channels_first(shape) if images else tuple(range(len(shape)))
        self.shape = tuple(shape[axis] for axis in self._axes)
        if images and len(shape) == 3:
            self.shape = (shape[0], 1, *shape[1:])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dtype} {self.shape} of {self.source})"

    def __getitem__(self, indices: slice | np.ndarray) -> np.ndarray:
        if isinstance(indices, slice):
            indices = np.arange(*indices.indices(len(self)))
        try:
            rows = self._read(indices).transpose(self._axes)
            return np.ascontiguousarray(rows, self.dtype).reshape(len(indices), *self.shape[1:])
        except FastvaeError:
            raise
        except Exception as error:  # from the file system, HDF5, or a user's own kind of rows
            raise DataError(
                f"{self.source}: rows {indices.min()} to {indices.max()} cannot be read ({formats.reason(error)}): get "
                "the file again"
            ) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:  # numpy 2 asks for it, by `np.array(rows, copy=False)`
            raise ValueError(f"{self!r} cannot be an array without being read: leave copy=False out")
        array = np.empty(self.shape, self.dtype)
        start = 0
        for block in self.blocks():
            array[start : start + len(block)] = block
            start += len(block)
        return array if dtype is None else array.astype(dtype, copy=False)

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in turn, in blocks of bounded size."""
        size = max(1, BLOCK // (self.dtype.itemsize * math.prod(self.shape[1:])))
        return (self[start : start + size] for start in range(0, len(self), size))

    def astype(self, dtype: Any) -> Rows:
        """The same rows in another type."""
        return ConvertedRows(self, lambda block, indices: block.astype(dtype), dtype)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """The rows with the given numbers, int64 (n,), in that order and with the axes of the file."""
        raise NotImplementedError


class MappedRows(Rows):
    """Rows of a file that is mapped into memory, of which the system reads and drops single pages."""

    def __init__(self, array: np.ndarray, path: str | os.PathLike[str], source: str, images: bool = True) -> None:
        super().__init__(source, array.shape, array.dtype, images)
        self._array, self._path, self._bytes = array, path, os.path.getsize(path)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        if os.path.getsize(self._path) < self._bytes:  # reading past the end of a mapped file kills the process
            raise DataError(f"{self.source} became shorter while it was read: do not change it while it is in use")
        return np.asarray(self._array[indices])


class HDF5Rows(Rows):
    """Rows of an HDF5 dataset, an open `h5py.Dataset`."""

    def __init__(self, dataset: h5py.Dataset, images: bool = True) -> None:
        self._dataset = dataset
        super().__init__(hdf5.name_of(dataset), dataset.shape or (), dataset.dtype, images)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        hdf5.check_stored(self._dataset)
        return super().__array__(dtype, copy)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        rows, places = np.unique(indices, return_inverse=True)  # h5py reads only ascending rows
        return self._dataset[rows][places]


class ImageFolder(Rows):
    """The images of a folder, one row each in the order of their names; grey or RGB, 8 bits, all of one size."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.names, self.classes, self.labels = folders.listing(path)
        self._image = folders.shape_of(*self._named(0))
        super().__init__(repr(path), (len(self.names), *self._image), np.dtype("uint8"))

    def _named(self, row: int) -> tuple[str, str]:
        path = os.path.join(self._path, self.names[row])
        return path, f"{path!r}, row {row}"

    def _read(self, indices: np.ndarray) -> np.ndarray:
        return np.stack([folders.read(*self._named(row), self._image) for row in indices])


class ConvertedRows(Rows):
    """Rows that a function checks and converts as they are read.

    Parameters
    ----------
    rows : Rows
    convert : callable
        `convert(block, row numbers)` returns as many rows of the same shape.
    dtype : numpy.dtype
        The type of what it returns.
    """

    def __init__(self, rows: Rows, convert: Callable[[np.ndarray, np.ndarray], np.ndarray], dtype: Any) -> None:
        super().__init__(rows.source, rows.shape, np.dtype(dtype), images=False)
        self._rows, self._convert, self.labels = rows, convert, rows.labels

    def _read(self, indices: np.ndarray) -> np.ndarray:
        return self._convert(self._rows[indices], indices)


def images_on_disk(
    rows: Rows, check: Callable[[np.ndarray, str], object] | None = None, keep_bytes: bool = False
) -> Rows:
    """Rows as images, checked by the rules of `fastvae.datasets.as_images` as they are read.

    Parameters
    ----------
    rows : Rows
    check : callable, optional
        `check(images, source)` raises DataError for images, float32 or uint8 (N, C, H, W), that are unsuitable.
    keep_bytes : bool
        Whether uint8 stays uint8.

    Returns
    -------
    Rows
        Float32 or uint8 (N, C, H, W). Reading a bad row raises a DataError that names its number.

    Raises
    ------
    DataError
        If type or shape are not those of images, or they are uint8 and contain only 0 and 1.
    """
    validation.check_images(rows.dtype, rows.shape, rows.source)
    if rows.dtype == np.uint8:
        validation.check_bytes(rows.blocks(), rows.source)

    def convert(block: np.ndarray, source: str) -> np.ndarray:
        images = validation.pixels(block, source, keep_bytes)
        if check is not None:
            check(images, source)
        return images

    def checked(block: np.ndarray, indices: np.ndarray) -> np.ndarray:
        try:
            return convert(block, rows.source)
        except DataError:
            for row, image in zip(indices, block):
                convert(image[np.newaxis], f"{rows.source}, row {row}")
            raise

    return ConvertedRows(rows, checked, np.uint8 if keep_bytes and rows.dtype == np.uint8 else np.float32)
