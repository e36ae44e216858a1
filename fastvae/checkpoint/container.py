"""One file for nested dicts and lists of JSON values and numpy arrays: no pickle, and a checksum over the whole.

    magic line          b"fastvae container\\n"
    length of the JSON  8 bytes, little endian
    JSON                the values, arrays replaced by their place, dtype and shape
    array bytes         one array after the other, C order, little endian
    SHA-256             32 bytes, of everything before

Examples
--------
>>> import tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "state")
>>> write(path, {"step": 3, "weights": [np.ones(2, "float32")]})
>>> read(path)
{'step': 3, 'weights': [array([1., 1.], dtype=float32)]}
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastvae import atomic
from fastvae.errors import DataError
from fastvae.files import open_regular

MAGIC = b"fastvae container\n"
DIGEST = hashlib.sha256().digest_size
ARRAY = "array at"  # the key by which the JSON names an array


class DamagedError(DataError):
    """A container is not what was written: it is truncated, changed, of another program, or cannot be read."""


def write(path: str | os.PathLike, values: dict[str, Any]) -> None:
    """Write a container, replacing the file at once or not at all.

    Parameters
    ----------
    path : str or path-like
    values : dict
        Of JSON values, numpy scalars (which become Python's), numpy arrays without objects, lists and dicts of them.

    Raises
    ------
    OSError
        If it cannot be written; an older file is then as it was.
    TypeError
        If a value is of another kind.
    """
    arrays: list[np.ndarray] = []
    end = 0

    def encode(value: Any) -> Any:
        nonlocal end
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise TypeError(f"{value!r} is neither a JSON value nor a numpy array without objects")
        value = np.asarray(value, dtype=value.dtype.newbyteorder("<"), order="C")
        place = {ARRAY: end, "dtype": value.dtype.str, "shape": value.shape}
        arrays.append(value)
        end += value.nbytes
        return place

    header = json.dumps(values, default=encode).encode()
    digest = hashlib.sha256()
    with atomic.replacing(path) as file, ThreadPoolExecutor(1) as beside:
        for part in (MAGIC, len(header).to_bytes(8, "little"), header, *(a.reshape(-1).view(np.uint8) for a in arrays)):
            hashed = beside.submit(digest.update, part)
            file.write(part)
        hashed.result()
        file.write(digest.digest())


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The values of a container, every byte of which was verified.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict

    Raises
    ------
    DamagedError
        If a byte is not what was written, the file cannot be read, or what it says of its arrays is not so.
    """
    path = os.fspath(path)
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror})") from error
    body = memoryview(content)[:-DIGEST]
    if not content.startswith(MAGIC):
        raise DamagedError(f"{path}: does not begin as a checkpoint of fastvae: it is damaged or of another program")
    if hashlib.sha256(body).digest() != content[-DIGEST:]:
        raise DamagedError(f"{path}: its checksum is wrong: the file is damaged or truncated")
    start = len(MAGIC) + 8
    first = start + int.from_bytes(body[len(MAGIC) : start], "little")
    try:
        values = json.loads(bytes(body[start:first]), object_hook=lambda value: _decoded(value, body[first:]))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: its checksum is right, but not what it says: {_in_short(error)}") from error
    if not isinstance(values, dict):
        raise DamagedError(f"{path}: holds a {type(values).__name__}, not a dict: it is of another program")
    return values


def _decoded(value: dict[str, Any], content: memoryview) -> Any:
    """A JSON object, or the array that it describes; ValueError if that is not in the content."""
    if ARRAY not in value:
        return value
    place, dtype, shape = (value.get(key) for key in (ARRAY, "dtype", "shape"))
    sizes: list[Any] = [place, *shape] if isinstance(shape, list) else [None]
    if not all(type(size) is int and size >= 0 for size in sizes) or not isinstance(dtype, str):
        raise ValueError(f"an array of dtype {dtype!r} and shape {shape!r} at byte {place!r}")
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise ValueError(f"an array of dtype {dtype!r}") from error
    shape = sizes[1:]
    count = math.prod(shape)
    if kind.kind not in "biufcSUmM" or not kind.itemsize or place + count * kind.itemsize > len(content):
        raise ValueError(f"an array of {kind} {tuple(shape)} at byte {place} of {len(content)}")
    return np.frombuffer(content, kind, count, place).reshape(shape).copy()


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
