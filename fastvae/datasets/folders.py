"""Folders of images: the images themselves, or a folder of images for each class. Pillow reads the files.

Examples
--------
>>> import tempfile
>>> folder = tempfile.mkdtemp()
>>> for name in ("cat", "dog"):
...     os.mkdir(os.path.join(folder, name))
...     Image.fromarray(np.zeros((4, 4), "uint8")).save(os.path.join(folder, name, "1.png"))
>>> listing(folder)
Listing(names=['cat/1.png', 'dog/1.png'], classes=['cat', 'dog'], labels=array([0, 1]))
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from fastvae.datasets.formats import reason
from fastvae.errors import DataError, FastvaeError
from fastvae.files import open_regular

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MODES = {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB"}  # what images are read as; no pixel changes its colour


class Listing(NamedTuple):
    """The images of a folder."""

    names: list[str]  #: relative to the folder, sorted
    classes: list[str] | None = None  #: the subfolders that contain them, sorted; None if the folder itself does
    labels: np.ndarray | None = None  #: int64, the index of each image's class


def listing(path: str) -> Listing:
    """The images of a folder; hidden files do not count.

    Returns
    -------
    Listing

    Raises
    ------
    DataError
        If there are none, or images both in the folder itself and in subfolders, or the folder has two splits.
    """
    names, folders = _images(path), subfolders(path)
    inside = {name: images for name in folders if (images := _images(os.path.join(path, name)))}
    if names and inside:
        raise DataError(
            f"{path!r} holds images, such as {names[0]!r}, beside folders of images, such as {next(iter(inside))!r}: "
            "move one of them elsewhere"
        )
    if not names and {"train", "test"} <= {name.lower() for name in folders}:
        raise DataError(f"{path!r} holds the splits train and test: give the path of one of these folders")
    if not names and not inside:
        refuse_images_further_down(path)
        raise DataError(
            f"{path!r} holds no images: their names end in {', '.join(SUFFIXES)}, and they are in the folder itself or "
            "in a subfolder for each class"
        )
    if names:
        return Listing(names)
    names = [f"{name}/{image}" for name, images in inside.items() for image in images]
    return Listing(names, list(inside), np.repeat(np.arange(len(inside)), list(map(len, inside.values()))))


def holds_images(path: str) -> bool:
    """Whether there is an image in a folder or in one of its subfolders."""
    return bool(_images(path)) or any(_images(os.path.join(path, name)) for name in subfolders(path))


def refuse_images_further_down(path: str, also: str = "") -> None:
    """Raise DataError if the images of a folder are in subfolders of its subfolders; `also` is one more remedy."""
    deeper = [name for name in subfolders(path) if holds_images(os.path.join(path, name))]
    if deeper:
        raise DataError(
            f"{path!r} has its images two folders down, as in {deeper[0]!r}: give the path of that one{also}"
        )


def shape_of(path: str, source: str) -> tuple[int, ...]:
    """(H, W) or (H, W, 3) of an image, according to its header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_announced` refuses such images
        with _opened(path, source) as image:
            return _announced(image, source)


def read(path: str, source: str, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of an image, uint8; DataError if its header, which is read first, announces another shape."""
    with _opened(path, source) as image:
        found = _announced(image, source)
        if found != shape:
            raise DataError(
                f"{source}: found {found}, the first image is {shape}: give all images one size and number of "
                "channels, such as with Pillow's image.convert('RGB').resize((64, 64))"
            )
        return np.asarray(image.convert(MODES[image.mode]))


@contextlib.contextmanager
def _opened(path: str, source: str) -> Iterator[Image.Image]:
    """An image whose header has been read; whatever goes wrong in the block becomes a DataError."""
    try:
        with open_regular(path) as file, Image.open(file) as image:
            yield image
    except FastvaeError:
        raise
    except Exception as error:  # pillow raises a dozen classes on damaged bytes
        raise DataError(f"{source}: cannot be read as an image ({reason(error)}): remove it or get it again") from error


def _announced(image: Image.Image, source: str) -> tuple[int, ...]:
    """The shape that an image's header announces; DataError if fastvae does not read such images."""
    transparent = image.mode == "P" and "transparency" in image.info
    if image.mode not in MODES or transparent:
        many = image.mode.startswith(("I", "F"))
        remedy = "scale its values to 8 bits" if many else "convert it, such as with Pillow's image.convert('RGB')"
        raise DataError(
            f"{source}: found an image of mode {image.mode}{' with transparency' * transparent}, not 8-bit grey, RGB "
            f"or a palette: {remedy}"
        )
    if image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise DataError(
            f"{source}: found {image.width:,} x {image.height:,} pixels, at most {Image.MAX_IMAGE_PIXELS:,} are read "
            "(PIL.Image.MAX_IMAGE_PIXELS): scale it down"
        )
    return (image.height, image.width, *((3,) if MODES[image.mode] == "RGB" else ()))


def _images(path: str) -> list[str]:
    return sorted(name for name in visible(path) if name.lower().endswith(SUFFIXES))


def subfolders(path: str) -> list[str]:
    """The names of the folders in a folder, sorted."""
    return sorted(name for name in visible(path) if os.path.isdir(os.path.join(path, name)))


def visible(path: str) -> list[str]:
    """The names in a folder that are not hidden."""
    try:
        return [name for name in os.listdir(path) if not name.startswith(".")]
    except OSError as error:
        raise DataError(f"{path!r} cannot be read ({reason(error)}): it must be a readable folder") from error
