"""HDF5 files: their datasets, opened. This is the only module that imports h5py, and only when a file needs it.

Examples
--------
>>> import h5py, os, tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "images.h5")
>>> with h5py.File(path, "w") as file:
...     images = file.create_dataset("images", (3, 4, 4), "uint8")
>>> dataset(path).shape, keys(path)
((3, 4, 4), ['images'])
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastvae.datasets.formats import reason
from fastvae.errors import DataError
from fastvae.files import check_regular

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".h5", ".hdf5")


def keys(path: str) -> list[str]:
    """The names of the datasets in a file, sorted."""
    return sorted(_datasets(path))


def dataset(path: str, key: str | None = None) -> h5py.Dataset:
    """An open `h5py.Dataset`; DataError if it does not exist, or if there are several and no key is given."""
    found = _datasets(path)
    if key is None and len(found) == 1:
        (key,) = found
    if key is None or key not in found:
        raise DataError(f"{path!r} has no dataset key={key!r}: give one of {sorted(found)}")
    return found[key]


def name_of(dataset: h5py.Dataset) -> str:
    """What error messages call a dataset."""
    return f"{dataset.file.filename!r}, dataset {dataset.name!r}"


def check_stored(dataset: h5py.Dataset) -> None:
    """Raise DataError if a file does not contain all of a dataset; h5py would read the fill value for the rest."""
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


def _datasets(path: str) -> dict[str, h5py.Dataset]:
    """The open datasets of a file, by name."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path!r} needs h5py, which is not installed: pip install h5py") from error
    found: dict[str, h5py.Dataset] = {}
    try:
        check_regular(path)
        file = h5py.File(path, "r")
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    except Exception as error:  # h5py raises a dozen classes on damaged bytes
        raise DataError(f"{path!r} cannot be read as HDF5 ({reason(error)}): get it again") from error
    return found
