"""Images for a VAE: a sample that ships with the package, Debian's Fashion-MNIST, and files of your own.

`load` reads them by name or path, `holds` tells whether there is something to read, and `as_images` checks and converts
an array in memory by the same rules (`fastvae.datasets.validation`). Images are always float32 in [0, 1] of shape
(N, C, H, W), labels int64 of shape (N,). `binarized` makes binary images of grey ones, and `fastvae.on_disk`
(`fastvae.datasets.rows`) opens files that do not fit in memory.

==========================  ==================================================================================
``"fashion-mnist-sample"``  ships with the package: 5,000 training and 1,000 test images of 28 x 28, labelled
``"fashion-mnist-full"``    all 60,000 + 10,000 of them, from Debian's package ``dataset-fashion-mnist``
``"fashion-mnist"``         the full set if it is installed, else the sample; a line of the log says which
a directory                 of IDX files in MNIST's naming (`MNIST_NAMES`), plain or gzipped
any other directory         of images, or of a folder of images for each class: the training images; if it has two
                            folders ``train`` and ``test`` of either kind, both splits
``*.npz``, ``*.h5``         arrays under the keys of `NPZ_KEYS`; a single HDF5 dataset is the training images
``*.npy``                   one array: the training images
any other file              one IDX file, plain or gzipped: the training images
==========================  ==================================================================================

Endings and names may be in upper case. Only regular files are read.

>>> images, labels = load("fashion-mnist-sample", split="test", labels=True)
>>> images.shape, images.dtype, labels.shape
((1000, 1, 28, 28), dtype('float32'), (1000,))
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

import numpy as np

from fastvae import kinds
from fastvae.datasets import folders, formats, hdf5
from fastvae.datasets.binary import binarized
from fastvae.datasets.rows import HDF5Rows, ImageFolder
from fastvae.datasets.validation import as_images, as_labels
from fastvae.errors import DataError
from fastvae.files import check_regular

__all__ = [
    "MNIST_NAMES",
    "NAMES",
    "NPZ_KEYS",
    "SPLITS",
    "as_images",
    "binarized",
    "class_names",
    "held_out",
    "holds",
    "load",
]

NAMES = ("fashion-mnist-sample", "fashion-mnist", "fashion-mnist-full")
SPLITS = ("train", "test")

#: File names of a directory in MNIST's naming; if there are several for one part, the first is read.
MNIST_NAMES = {
    (split, what): tuple(f"{stem}-{what}{dot}{rank}-ubyte{end}" for dot in "-." for end in ("", ".gz"))
    for split, stem in (("train", "train"), ("test", "t10k"))
    for what, rank in (("images", "idx3"), ("labels", "idx1"))
}
#: Keys of an .npz or HDF5 file, which must have at most one of each line.
NPZ_KEYS = {
    ("train", "images"): ("x_train", "train_images", "images", "x"),
    ("train", "labels"): ("y_train", "train_labels", "labels", "y"),
    ("test", "images"): ("x_test", "test_images"),
    ("test", "labels"): ("y_test", "test_labels"),
}
_SAMPLE = os.path.join(os.path.dirname(__file__), "data")
_FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_DEBIAN = "/usr/share/datasets/fashion-mnist"
_INSTALL = "apt-get install dataset-fashion-mnist"
_KINDS = "a directory in MNIST's naming or of images, an IDX file (also .gz), a .npy, a .npz or an HDF5 file"


Parts = dict[tuple[str, str], Callable[[], tuple[Any, str]]]
Places = Mapping[tuple[str, str], tuple[str, ...]]
SOURCE = kinds.Kind("path", f"one of the names {', '.join(NAMES)}, or the path of {_KINDS}", kinds.path.standard)
PART = dict(name_or_path=SOURCE, split=kinds.choice(*SPLITS), labels=kinds.boolean)
LAST = dict(channels_last=kinds.boolean)


@overload
def load(
    name_or_path: str | os.PathLike[str] = ...,
    split: str = ...,
    labels: Literal[False] = ...,
    channels_last: bool = ...,
) -> np.ndarray: ...
@overload
def load(
    name_or_path: str | os.PathLike[str], split: str, labels: Literal[True], channels_last: bool = ...
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def load(
    name_or_path: str | os.PathLike[str] = ..., split: str = ..., *, labels: Literal[True], channels_last: bool = ...
) -> tuple[np.ndarray, np.ndarray]: ...
@kinds.checked(**PART, **LAST)
def load(
    name_or_path: str | os.PathLike[str] = "fashion-mnist-sample",
    split: str = "train",
    labels: bool = False,
    channels_last: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Read the images of one split, and their labels if asked.

    Parameters
    ----------
    name_or_path : str or os.PathLike
        A name of `NAMES`, or a path as in the table above. A string that is a name is never taken as a path: for a
        directory of that name write ``./fashion-mnist`` or pass a `pathlib.Path`.
    split : {"train", "test"}
        A file of a single array contains only training images.
    labels : bool
        Whether to return the labels too.
    channels_last : bool
        Whether arrays of rank 4 are (N, H, W, C) whatever their second axis is, see `as_images`.

    Returns
    -------
    images : numpy.ndarray
        float32 (N, C, H, W) in [0, 1], converted by the rules of `as_images`; a new array, which you may change.
    labels : numpy.ndarray
        int64 (N,), only with ``labels=True``; see `as_labels`. Otherwise labels are not read.

    Raises
    ------
    DataError
        If there is no such name, file, split or labels, or if a file is damaged or not what it should be: the message
        names the file, what was found and what is accepted.
    ConfigurationError
        If an argument is invalid.

    Notes
    -----
    Everything is read into memory (the full Fashion-MNIST: 188 MB). Pickles inside .npy and .npz are refused.

    Examples
    --------
    >>> load("fashion-mnist-sample").shape
    (5000, 1, 28, 28)
    """
    path, parts, places = _parts(name_or_path, split, labels)
    images = np.require(
        as_images(*_read(path, parts, places, split, "images"), channels_last=channels_last), requirements="W"
    )
    if name_or_path == "fashion-mnist":
        other = f"`{_INSTALL}` brings the full set" if path == _SAMPLE else "the sample is 'fashion-mnist-sample'"
        logging.getLogger("fastvae").warning("fashion-mnist: %s %s images from %s; %s", len(images), split, path, other)
    if not labels:
        return images
    return images, as_labels(*_read(path, parts, places, split, "labels"), len(images))


@kinds.checked(**PART)
def holds(name_or_path: str | os.PathLike[str], split: str = "train", labels: bool = False) -> bool:
    """Whether `load` with the same arguments would find the split (and its labels); contents are not read.

    Parameters
    ----------
    name_or_path, split, labels
        As for `load`.

    Returns
    -------
    bool

    Raises
    ------
    DataError, ConfigurationError
        As `load`, for a name or path that does not exist, a damaged .npz file, or an invalid argument.

    Examples
    --------
    >>> holds("fashion-mnist-sample", split="test", labels=True)
    True
    """
    _, parts, _ = _parts(name_or_path, split, labels)
    return (split, "images") in parts and (not labels or (split, "labels") in parts)


@kinds.checked(name_or_path=SOURCE, image_shape=kinds.shape_of_images, labels=kinds.boolean, **LAST)
def held_out(
    name_or_path: str | os.PathLike[str],
    image_shape: tuple[int, int, int],
    labels: bool = True,
    channels_last: bool = False,
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """The test images of a data set, to judge a model by; its training images if it has no test split.

    Parameters
    ----------
    name_or_path : str or pathlib.Path
        As for `load`.
    image_shape : tuple of int
        (C, H, W) of the images that the model takes.
    labels : bool
        Whether to look for labels.
    channels_last : bool
        As for `load`.

    Returns
    -------
    images : numpy.ndarray
        float32 (N, C, H, W).
    labels : numpy.ndarray or None
        int64 (N,), if the split has labels. If they cannot be read, they are None, and a line of the log says why.
    split : {"test", "train"}
        Which images they are.

    Raises
    ------
    DataError
        If the images cannot be read or have another shape.

    Examples
    --------
    >>> images, labels, split = held_out("fashion-mnist-sample", (1, 28, 28))
    >>> images.shape, labels.shape, split
    ((1000, 1, 28, 28), (1000,), 'test')
    """
    split = "test" if holds(name_or_path, "test") else "train"
    images, found = load(name_or_path, split, channels_last=channels_last), None
    if images.shape[1:] != tuple(image_shape):
        raise DataError(
            f"{str(name_or_path)!r}: its {split} images are {images.shape[1:]}, but the model's {tuple(image_shape)}: "
            "give both splits one shape"
        )
    if labels and holds(name_or_path, split, labels=True):
        path, parts, places = _parts(name_or_path, split, labels)
        try:
            found = as_labels(*_read(path, parts, places, split, "labels"), len(images))
        except DataError as error:
            logging.getLogger("fastvae").warning("going on without labels: %s", error)
    return images, found, split


@kinds.checked(name_or_path=SOURCE)
def class_names(name_or_path: str | os.PathLike[str]) -> list[str] | None:
    """The names of the classes that the labels of a data set count, where it has names: those of folders are theirs.

    Parameters
    ----------
    name_or_path : str or pathlib.Path
        As for `load`.

    Returns
    -------
    list of str or None
        The name of label i at position i.

    Raises
    ------
    DataError
        As `load`, for a name or path that does not exist.

    Examples
    --------
    >>> class_names("fashion-mnist-sample")[9]
    'Ankle boot'
    """
    path = _path(name_or_path)
    if isinstance(name_or_path, str) and name_or_path in NAMES:
        return list(_FASHION)
    if not os.path.isdir(path) or _mnist_parts(path):
        return None
    folder = _splits(path).get("test", path)
    return folders.listing(folder).classes if folders.holds_images(folder) else None


def _parts(name_or_path: str | os.PathLike[str], split: str, labels: bool) -> tuple[str, Parts, Places]:
    """Check `load`'s arguments and find what there is to read.

    Returns
    -------
    path : str
    parts : dict
        From (split, "images" or "labels") to a function that returns (array, source).
    places : dict
        From the same keys to the names that each may have; empty for a file of one array.
    """
    path = _path(name_or_path)
    if os.path.isdir(path):
        parts = _mnist_parts(path) or _folder_parts(path)
        return path, parts, {key: (*names, "images in it or in folders of it") for key, names in MNIST_NAMES.items()}
    ending = formats.suffix(path)
    if ending == ".npz":
        return path, _keyed_parts(path, formats.npz_keys(path), formats.read_npz), NPZ_KEYS
    if ending in hdf5.SUFFIXES:
        found = hdf5.keys(path)
        if len(found) == 1:
            return path, {("train", "images"): functools.partial(_read_hdf5, path, *found)}, {}
        return path, _keyed_parts(path, found, _read_hdf5), NPZ_KEYS
    read = formats.read_npy if ending == ".npy" else formats.read_idx
    return path, {("train", "images"): functools.partial(read, path)}, {}


def _path(name_or_path: str | os.PathLike[str]) -> str:
    """The path that a name or path stands for, which exists."""
    if name_or_path == "fashion-mnist-full" and not os.path.isdir(_DEBIAN):
        raise DataError(
            f"data set 'fashion-mnist-full' is not installed, {_DEBIAN!r} does not exist: `{_INSTALL}`, or take the "
            "shipped 'fashion-mnist-sample'"
        )
    either = _DEBIAN if os.path.isdir(_DEBIAN) else _SAMPLE
    named = {"fashion-mnist-sample": _SAMPLE, "fashion-mnist": either, "fashion-mnist-full": _DEBIAN}
    path = named.get(str(name_or_path)) if isinstance(name_or_path, str) else None
    path = path or os.path.expanduser(os.fsdecode(name_or_path))
    if not os.path.exists(path):
        raise DataError(
            f"no data set, file or directory is called {path!r}: take one of the names {', '.join(NAMES)} or the path "
            f"of {_KINDS}"
        )
    try:
        check_regular(path)
    except OSError as error:
        raise DataError(f"{path!r} is {error.strerror}: give {_KINDS}") from error
    return path


def _read(path: str, parts: Parts, places: Places, split: str, what: str) -> tuple[Any, str]:
    """One part of a data set: the array, and what error messages call it."""
    if (split, what) in parts:
        return parts[split, what]()
    if places:
        raise DataError(f"{path!r} has no {split} {what}: they are looked for as {' or '.join(places[split, what])}")
    raise DataError(
        f"{path!r} has no {split} {what}: a file of one array contains training images only; a directory in MNIST's "
        "naming or a .npz file can contain more"
    )


def _mnist_parts(path: str) -> Parts:
    """The parts of a directory in MNIST's naming."""
    there = {name.lower(): os.path.join(path, name) for name in folders.visible(path)}
    parts: Parts = {}
    for part, names in MNIST_NAMES.items():
        file = next((there[name] for name in names if name in there), None)
        if file is not None:
            parts[part] = functools.partial(formats.read_idx, file)
    return parts


def _folder_parts(path: str) -> Parts:
    """The parts of a directory of images, of a folder for each class, or of the folders train and test."""
    parts: Parts = {}
    for split, folder in _splits(path).items():
        if folders.holds_images(folder):
            parts[split, "images"] = functools.partial(_read_folder, folder)
            labels = folders.listing(folder).labels
            if labels is not None:
                parts[split, "labels"] = functools.partial(_pair, labels, repr(folder))
    if not parts:
        folders.refuse_images_further_down(path, ", or call the folders of its splits train and test")
    return parts


def _splits(path: str) -> dict[str, str]:
    """The folders of a directory's splits; all of it is for training unless it has one for each."""
    found = {name.lower(): os.path.join(path, name) for name in folders.visible(path) if name.lower() in SPLITS}
    return found if {*found} == {*SPLITS} else {"train": path}


def _pair(array: np.ndarray, source: str) -> tuple[np.ndarray, str]:
    return array, source


def _read_folder(path: str) -> tuple[np.ndarray, str]:
    rows = ImageFolder(path)
    return np.asarray(rows), rows.source


def _read_hdf5(path: str, key: str) -> tuple[np.ndarray, str]:
    rows = HDF5Rows(hdf5.dataset(path, key), images=False)
    return np.asarray(rows), rows.source


def _keyed_parts(path: str, found: list[str], read: Callable[[str, str], tuple[Any, str]]) -> Parts:
    """The parts of a file that has arrays under the keys `found`."""
    parts: Parts = {}
    for part, keys in NPZ_KEYS.items():
        matches = [key for key in keys if key in found]
        if matches:
            parts[part] = functools.partial(_read_key, path, part, matches, read)
    if not any(what == "images" for _, what in parts):
        accepted = [key for (_, what), keys in NPZ_KEYS.items() if what == "images" for key in keys]
        raise DataError(
            f"{path!r} holds no images, its keys are {found}: images are looked for as {' or '.join(accepted)}"
        )
    return parts


def _read_key(
    path: str, part: tuple[str, str], matches: list[str], read: Callable[[str, str], tuple[Any, str]]
) -> tuple[Any, str]:
    """The array of a part, which may have only one key."""
    if len(matches) > 1:
        raise DataError(f"{path!r} holds several {' '.join(part)}, as {' and '.join(matches)}: keep one of them")
    return read(path, *matches)
