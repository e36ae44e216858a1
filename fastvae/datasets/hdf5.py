"""HDF5 files: which datasets there are, opened. h5py, which only they need, is imported here and nowhere else.

Examples
--------
>>> import h5py, os, tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "images.h5")
>>> with h5py.File(path, "w") as file:
...     images = file.create_dataset("images", (3, 4, 4), "uint8")
>>> dataset(path).shape, keys(path)
((3, 4, 4), ['images'])
"""

import math

from fastvae.datasets.formats import reason
from fastvae.errors import DataError
from fastvae.files import check_regular

SUFFIXES = (".h5", ".hdf5")


def keys(path):
    """Names of the datasets in a file, a sorted list of str."""
    return sorted(_datasets(path))


def dataset(path, key=None):
    """An open `h5py.Dataset`; DataError if it is not there, or there are several and no key."""
    found = _datasets(path)
    if key is None and len(found) == 1:
        (key,) = found
    if key not in found:
        raise DataError(f"{path!r} has no dataset key={key!r}: give one of {sorted(found)}")
    return found[key]


def name_of(dataset):
    """What a dataset is called in an error message."""
    return f"{dataset.file.filename!r}, dataset {dataset.name!r}"


def check_stored(dataset):
    """Raise DataError if a dataset announces more than its file holds: the rest would be read as its fill value."""
    announced = math.prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.is_virtual or dataset.external:
        return
    if dataset.chunks is None:
        stored = dataset.id.get_storage_size()
    else:
        stored = dataset.id.get_num_chunks() * math.prod(dataset.chunks) * dataset.dtype.itemsize
    if stored < announced:
        raise DataError(
            f"{name_of(dataset)} announces {dataset.dtype} {dataset.shape}, {announced} bytes, but {stored} were "
            "written: write it to the end"
        )


def _datasets(path):
    """From names to open datasets."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path!r} needs h5py, which is not installed: pip install h5py") from error
    found = {}
    try:
        check_regular(path)
        file = h5py.File(path, "r")
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    except Exception as error:  # h5py raises a dozen classes on damaged bytes
        raise DataError(f"{path!r} cannot be read as HDF5 ({reason(error)}): get it again") from error
    return found
