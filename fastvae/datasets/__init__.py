"""Images for a VAE: a sample that ships with the package, Debian's Fashion-MNIST, and files of your own.

`load` reads them by name or path, `holds` tells what there is to read, `as_images` holds an array in memory
to the same rules. Images are always float32 in [0, 1] of shape (N, C, H, W), labels int64 of shape (N,).

==========================  ==================================================================================
``"fashion-mnist-sample"``  ships with the package: 5,000 training and 1,000 test images of 28 x 28, labelled
``"fashion-mnist-full"``    all 60,000 + 10,000 of them, from Debian's package ``dataset-fashion-mnist``
``"fashion-mnist"``         the full set where it is installed, else the sample; one log line says which
a directory                 of IDX files in MNIST's naming (`MNIST_NAMES`), plain or gzipped
``*.npz``                   arrays under the keys of `NPZ_KEYS`
``*.npy``                   one array: the training images
any other file              one IDX file, plain or gzipped: the training images
==========================  ==================================================================================

>>> images, labels = load("fashion-mnist-sample", split="test", labels=True)
>>> images.shape, images.dtype, labels.shape
((1000, 1, 28, 28), dtype('float32'), (1000,))
"""
import functools
import logging
import os

import numpy as np

from fastvae import kinds
from fastvae.arguments import RNG, generator
from fastvae.datasets import formats
from fastvae.errors import DataError

NAMES = ("fashion-mnist-sample", "fashion-mnist", "fashion-mnist-full")
SPLITS = ("train", "test")

#: File names of a directory in MNIST's naming; of several for one part the first is read.
MNIST_NAMES = {
    (split, what): tuple(f"{stem}-{what}{dot}{rank}-ubyte{end}" for dot in "-." for end in ("", ".gz"))
    for split, stem in (("train", "train"), ("test", "t10k"))
    for what, rank in (("images", "idx3"), ("labels", "idx1"))
}
#: Keys of an .npz file; it must hold at most one key of each line.
NPZ_KEYS = {
    ("train", "images"): ("x_train", "train_images", "images", "x"),
    ("train", "labels"): ("y_train", "train_labels", "labels", "y"),
    ("test", "images"): ("x_test", "test_images"),
    ("test", "labels"): ("y_test", "test_labels"),
}
_SAMPLE = os.path.join(os.path.dirname(__file__), "data")
_DEBIAN = "/usr/share/datasets/fashion-mnist"
_INSTALL = "apt-get install dataset-fashion-mnist"
_KINDS = "a directory in MNIST's naming, an IDX file (also .gz), a .npy or a .npz"


SOURCE = kinds.Kind("path", f"one of the names {', '.join(NAMES)}, or the path of {_KINDS}", kinds.path.standard)
PART = dict(name_or_path=SOURCE, split=kinds.choice(*SPLITS), labels=kinds.boolean)


@kinds.checked(**PART)
def load(name_or_path="fashion-mnist-sample", split="train", labels=False):
    """Read the images of one split, and their labels if asked.

    Parameters
    ----------
    name_or_path : str or os.PathLike
        A name of `NAMES`, or a path as in the table above. A string that is a name is never taken as a path: write
        ``./fashion-mnist``, or pass a `pathlib.Path`, for a directory called so.
    split : {"train", "test"}
        A file that holds a single array is all training images.
    labels : bool
        Whether to return the labels too.

    Returns
    -------
    images : numpy.ndarray
        float32 (N, C, H, W) in [0, 1], converted by the rules of `as_images`; an array of your own to write to.
    labels : numpy.ndarray
        int64 (N,); only with ``labels=True``.

    Raises
    ------
    DataError
        If there is no such name, file, split or labels, or a file is damaged or not what it should be: the
        message names the file, what was found and what is accepted.
    ConfigurationError
        If an argument is out of its domain.

    Notes
    -----
    Everything is read into memory (the full Fashion-MNIST: 188 MB). Pickles inside .npy and .npz are refused.

    Examples
    --------
    >>> load("fashion-mnist-sample").shape
    (5000, 1, 28, 28)
    """
    path, parts, places = _parts(name_or_path, split, labels)
    images = np.require(as_images(*_read(path, parts, places, split, "images")), requirements="W")
    if name_or_path == "fashion-mnist":
        other = f"`{_INSTALL}` brings the full set" if path == _SAMPLE else "the sample is 'fashion-mnist-sample'"
        logging.getLogger("fastvae").warning("fashion-mnist: %s %s images from %s; %s", len(images), split, path, other)
    if not labels:
        return images
    return images, _as_labels(*_read(path, parts, places, split, "labels"), len(images))


@kinds.checked(**PART)
def holds(name_or_path, split="train", labels=False):
    """Whether `load` with the same arguments would find that split (and its labels); contents are not read.

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
        As `load`, for a name or path that does not exist, a damaged .npz, or an argument out of its domain.

    Examples
    --------
    >>> holds("fashion-mnist-sample", split="test", labels=True)
    True
    """
    _, parts, _ = _parts(name_or_path, split, labels)
    return (split, "images") in parts and (not labels or (split, "labels") in parts)


@kinds.checked(name_or_path=SOURCE, image_shape=kinds.shape_of_images)
def held_out(name_or_path, image_shape):
    """The test images of a data set, for judging a model; its training images if it has no test split.

    Parameters
    ----------
    name_or_path : str or pathlib.Path
        As for `load`.
    image_shape : tuple of int
        (C, H, W) of the images that the model takes.

    Returns
    -------
    images : numpy.ndarray
        Float32 (N, C, H, W).
    labels : numpy.ndarray or None
        Int64 (N,), if the split has labels.
    split : {"test", "train"}
        Which images they are.

    Raises
    ------
    DataError
        If they cannot be read or have another shape.

    Examples
    --------
    >>> images, labels, split = held_out("fashion-mnist-sample", (1, 28, 28))
    >>> images.shape, labels.shape, split
    ((1000, 1, 28, 28), (1000,), 'test')
    """
    split = "test" if holds(name_or_path, "test") else "train"
    if holds(name_or_path, split, labels=True):
        images, labels = load(name_or_path, split, labels=True)
    else:
        images, labels = load(name_or_path, split), None
    if images.shape[1:] != tuple(image_shape):
        raise DataError(
            f"{str(name_or_path)!r}: its {split} images are {images.shape[1:]}, the model's {tuple(image_shape)}: "
            "give both splits one shape"
        )
    return images, labels, split


@kinds.checked(images=kinds.anything, seed=RNG)
def binarized(images, seed=0):
    """Images of 0 and 1, bool, each pixel drawn once with its intensity as the probability of 1.

    Parameters
    ----------
    images : numpy.ndarray
        As for `as_images`.
    seed : int

    Returns
    -------
    numpy.ndarray
        bool (N, C, H, W).

    Raises
    ------
    DataError
        As `as_images`.
    ConfigurationError
        If the seed is no integer of at least 0.

    Notes
    -----
    Draws once and for all; ``fastvae.Minibatch(..., binarize=True)`` draws anew in every step, which overfits less.

    Examples
    --------
    >>> images = load("fashion-mnist-sample", "test")
    >>> bool(abs(binarized(images).mean() - images.mean()) < 0.001)
    True
    """
    images = as_images(images)
    rng = generator("binarized", seed)
    drawn = [rng.random(image.shape, dtype=np.float32) < image for image in images]
    return np.stack(drawn)


@kinds.checked(array=kinds.anything, source=kinds.text, keep_bytes=kinds.boolean)
def as_images(array, source="array", keep_bytes=False):
    """Check an array of images and convert it to float32 (N, C, H, W) in [0, 1].

    Parameters
    ----------
    array : numpy.ndarray
        (N, H, W), (N, C, H, W) or (N, H, W, C) with C = 1 or 3; where axis 1 has length 1 or 3 it is the channel.
        uint8 (divided by 255), bool (0 or 1), or float already in [0, 1].
    source : str
        What the array is called in an error message.
    keep_bytes : bool
        Whether uint8 stays uint8, in a quarter of the memory.

    Returns
    -------
    numpy.ndarray
        float32 (or uint8) (N, C, H, W), C-contiguous; the array's own memory where nothing had to be converted.

    Raises
    ------
    DataError
        If it is not such an array, is empty, or holds NaN, infinities or values outside [0, 1].

    Examples
    --------
    >>> as_images(np.full((2, 28, 28), 51, dtype="uint8")).shape
    (2, 1, 28, 28)
    """
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise DataError(
            f"{source}: found {type(array).__name__}, images are a plain numpy array "
            "(fastvae.datasets.load reads files, numpy.asarray converts)"
        )
    if array.dtype != np.uint8 and array.dtype.kind not in "fb":
        raise DataError(
            f"{source}: found dtype {array.dtype}, images are uint8 in 0..255, bool, or float in [0, 1]: "
            'convert with astype("uint8") if the values are whole numbers in 0..255'
        )
    if array.ndim not in (3, 4):
        raise DataError(
            f"{source}: found rank {array.ndim}, shape {array.shape}, images are (N, H, W), (N, C, H, W) or "
            "(N, H, W, C): reshape, such as with images.reshape(-1, 28, 28)"
        )
    if array.size == 0:
        raise DataError(f"{source}: found an empty set, shape {array.shape}, at least one image of one pixel is needed")
    if array.ndim == 3:
        array = array[:, np.newaxis]
    elif array.shape[1] not in (1, 3):
        if array.shape[3] not in (1, 3):
            raise DataError(
                f"{source}: found shape {array.shape}, images of rank 4 are (N, C, H, W) or (N, H, W, C), "
                "with C = 1 or 3 channels"
            )
        array = np.moveaxis(array, 3, 1)
    if array.dtype == np.uint8:
        if array.max() == 1:
            raise DataError(
                f"{source}: found uint8 values of 0 and 1 only, uint8 is read as 0..255: convert binary images with "
                "astype(bool)"
            )
        if keep_bytes:
            return np.ascontiguousarray(array)
        array = np.divide(array, np.float32(255), dtype=np.float32)
    elif array.dtype.kind == "f":
        _check_range(array, source)
    return np.ascontiguousarray(array, dtype=np.float32)


def _check_range(array, source):
    """Refuse floats that are not finite or lie outside [0, 1]."""
    low, high = array.min(), array.max()
    if not np.isfinite(low) or not np.isfinite(high):
        count = array.size - np.count_nonzero(np.isfinite(array))
        raise DataError(
            f"{source}: found {count} NaN or infinite of {array.size} values, float images are finite and in [0, 1]"
        )
    if low < 0 or high > 1:
        raise DataError(
            f"{source}: found values from {low:g} to {high:g}, float images are in [0, 1]: rescale them, such as "
            "with (images - images.min()) / (images.max() - images.min())"
        )


def _as_labels(array, source, n_images):
    """Check labels and convert them to int64 (N,)."""
    if array.ndim != 1 or array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64):
        raise DataError(
            f"{source}: found dtype {array.dtype} and shape {array.shape}, labels are whole numbers of shape (N,), "
            "uint8 to int64: convert with labels.reshape(-1).astype(int)"
        )
    if len(array) != n_images:
        raise DataError(f"{source}: found {len(array)} labels for {n_images} images, there must be one for each")
    return array.astype(np.int64)


def _parts(name_or_path, split, labels):
    """Check `load`'s arguments and find what there is to read.

    Returns
    -------
    path : str
    parts : dict
        From (split, "images" or "labels") to a function that returns (array, source).
    places : dict
        From the same keys to the names under which each is looked for; empty for a file of one array.
    """
    path = _path(name_or_path)
    if os.path.isdir(path):
        return path, _directory_parts(path), MNIST_NAMES
    if path.endswith(".npz"):
        return path, _npz_parts(path), NPZ_KEYS
    read = formats.read_npy if path.endswith(".npy") else formats.read_idx
    return path, {("train", "images"): functools.partial(read, path)}, {}


def _path(name_or_path):
    """The path behind a name or path; it exists."""
    if name_or_path == "fashion-mnist-full" and not os.path.isdir(_DEBIAN):
        raise DataError(
            f"data set 'fashion-mnist-full' is not installed, {_DEBIAN!r} does not exist: `{_INSTALL}`, or take the "
            "shipped 'fashion-mnist-sample'"
        )
    either = _DEBIAN if os.path.isdir(_DEBIAN) else _SAMPLE
    named = {"fashion-mnist-sample": _SAMPLE, "fashion-mnist": either, "fashion-mnist-full": _DEBIAN}
    path = named[name_or_path] if name_or_path in NAMES else os.path.expanduser(os.fsdecode(name_or_path))
    if not os.path.isdir(path) and not os.path.isfile(path):
        raise DataError(
            f"no data set, file or directory is called {path!r}: take one of the names {', '.join(NAMES)} or the path "
            f"of {_KINDS}"
        )
    return path


def _read(path, parts, places, split, what):
    """One part of a data set: the array, and what it is called in an error message."""
    if (split, what) in parts:
        return parts[split, what]()
    if places:
        raise DataError(f"{path!r} has no {split} {what}: they are looked for as {' or '.join(places[split, what])}")
    raise DataError(
        f"{path!r} has no {split} {what}: a file of one array is training images alone; a directory in MNIST's "
        "naming or a .npz holds more"
    )


def _directory_parts(path):
    """The parts of a directory in MNIST's naming."""
    parts = {}
    for part, names in MNIST_NAMES.items():
        file = next(filter(os.path.isfile, (os.path.join(path, name) for name in names)), None)
        if file is not None:
            parts[part] = functools.partial(formats.read_idx, file)
    return parts


def _npz_parts(path):
    """The parts of an .npz file."""
    found = formats.npz_keys(path)
    parts = {}
    for part, keys in NPZ_KEYS.items():
        matches = [key for key in keys if key in found]
        if len(matches) > 1:
            raise DataError(f"{path!r} holds several {' '.join(part)}, as {' and '.join(matches)}: keep one of them")
        for key in matches:
            parts[part] = functools.partial(formats.read_npz, path, key)
    if not any(what == "images" for _, what in parts):
        accepted = [key for (_, what), keys in NPZ_KEYS.items() if what == "images" for key in keys]
        raise DataError(
            f"{path!r} holds no images, its keys are {found}: images are looked for as {' or '.join(accepted)}"
        )
    return parts
