"""Rows on disk: what a streamed minibatch reads from, without loading it into memory.

`on_disk` opens a file or folder. What it returns has `shape`, `dtype` and `len` as an array has, and gives rows by an
array of row numbers. Images come as (N, C, H, W), whatever their order of axes in the file.

====================  =========================================================================================
``*.npy``             one array, mapped
``*.h5``, ``*.hdf5``  one HDF5 dataset; needs h5py
a directory           of images, one a row in the order of their names; read by pillow
any other file        one IDX file, mapped; not gzipped
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
import os

import numpy as np
from PIL import Image

from fastvae import kinds
from fastvae.datasets import formats
from fastvae.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@kinds.checked(path=kinds.path, key=kinds.optional(kinds.text))
def on_disk(path, key=None):
    """Open a file or folder for a streamed `fastvae.Minibatch`.

    Parameters
    ----------
    path : str or path-like
        As in the table of the module.
    key : str, optional
        Name of the dataset in an HDF5 file; needed where there are several.

    Returns
    -------
    Rows

    Raises
    ------
    DataError
        If it is not there, damaged, compressed as a whole, or holds no rows of numbers.

    Notes
    -----
    Not for what fits in memory: `fastvae.datasets.load` reads that once, and checks every value. An uncompressed file
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
    if path.endswith((".h5", ".hdf5")):
        return _hdf5(path, key)
    if key is not None:
        raise DataError(f"key={key!r} names a dataset of an HDF5 file, which {path!r} is not: leave it out")
    if os.path.isdir(path):
        return ImageFolder(path)
    if path.endswith(".npz"):
        raise DataError(f"{path!r} is an archive, whose rows cannot be read one by one: save each array as .npy")
    return MappedRows(path)


class Rows:
    """Rows on disk: `shape`, `dtype`, `len(rows)`, and `rows[row numbers]`, an array of your own.

    Parameters
    ----------
    source : str
        What the data are called in an error message.
    shape : tuple of int
        In the file.
    dtype : numpy.dtype
    images : bool
        Whether rank 3 gains a channel axis, and the channels of rank 4, if they are last, become axis 1.
    """

    def __init__(self, source, shape, dtype, images=True):
        if dtype.kind not in "fiub" or not shape or 0 in shape:
            raise DataError(f"{source}: found {dtype} {shape}, needed are rows of floats, integers or booleans")
        self.source, self.dtype = source, dtype.newbyteorder("=")
        self._axes = tuple(range(len(shape)))
        if images and len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3):
            self._axes = (0, 3, 1, 2)
        self.shape = tuple(shape[axis] for axis in self._axes)
        if images and len(shape) == 3:
            self.shape = (shape[0], 1, *shape[1:])

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"{type(self).__name__}({self.dtype} {self.shape} of {self.source})"

    def __getitem__(self, indices):
        rows = self._read(indices).transpose(self._axes)
        return np.ascontiguousarray(rows, self.dtype).reshape(len(indices), *self.shape[1:])

    def _read(self, indices):
        """The rows of an int64 vector of row numbers, in its order and with the file's axes."""
        raise NotImplementedError


class MappedRows(Rows):
    """Rows of an uncompressed .npy or IDX file, mapped into memory that the system reads and drops page by page."""

    def __init__(self, path):
        read = formats.read_npy if path.endswith(".npy") else formats.read_idx
        self._array, source = read(path, mapped=True)
        self._path, self._bytes = path, os.path.getsize(path)
        super().__init__(source, self._array.shape, self._array.dtype)

    def _read(self, indices):
        if os.path.getsize(self._path) < self._bytes:  # reading past the end of a mapped file kills the process
            raise DataError(f"{self.source} became shorter while it was read: leave it alone while it is in use")
        return self._array[indices]


class HDF5Rows(Rows):
    """Rows of an HDF5 dataset, an open `h5py.Dataset`."""

    def __init__(self, dataset, images=True):
        self._dataset = dataset
        source = f"{dataset.file.filename!r}, dataset {dataset.name!r}"
        super().__init__(source, dataset.shape or (), dataset.dtype, images)

    def _read(self, indices):
        rows, places = np.unique(indices, return_inverse=True)  # h5py reads ascending rows only
        return self._dataset[rows][places]


class ImageFolder(Rows):
    """The images of a folder, one a row in the order of their file names; grey or RGB, 8 bits, all of one size."""

    def __init__(self, path):
        self.names = sorted(entry for entry in os.listdir(path) if entry.lower().endswith(SUFFIXES))
        self._path = path
        if not self.names:
            raise DataError(f"{path!r} holds no images: their names end in {', '.join(SUFFIXES)}")
        self._first = self._image(0)
        super().__init__(repr(path), (len(self.names), *self._first.shape), self._first.dtype)

    def _read(self, indices):
        return np.stack([self._checked(row) for row in indices])

    def _checked(self, row):
        image = self._image(row)
        if image.shape != self._first.shape:
            raise DataError(
                f"{os.path.join(self._path, self.names[row])!r}, row {row}: found {image.shape}, the first image is "
                f"{self._first.shape}: give all images one size and number of channels"
            )
        return image

    def _image(self, row):
        path = os.path.join(self._path, self.names[row])
        try:
            with Image.open(path) as image:
                mode, pixels = image.mode, np.asarray(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path!r}, row {row}: cannot be read as an image ({formats.reason(error)})") from error
        if mode not in ("L", "RGB"):
            raise DataError(f"{path!r}, row {row}: found an image of mode {mode}, not 8-bit grey or RGB: convert it")
        return pixels


def _hdf5(path, key):
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path!r} needs h5py, which is not installed: pip install h5py") from error
    try:
        file = h5py.File(path, "r")
        datasets = {}
        file.visititems(lambda name, item: datasets.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path!r} cannot be read as HDF5 ({formats.reason(error)}): get it again") from error
    if key is None and len(datasets) == 1:
        return HDF5Rows(*datasets.values())
    if key not in datasets:
        raise DataError(f"{path!r} has no dataset key={key!r}: give one of {sorted(datasets)}")
    return HDF5Rows(datasets[key])
