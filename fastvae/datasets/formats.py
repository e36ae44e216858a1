"""Read arrays from IDX, .npy and .npz files; everything that can be wrong in a file is an error that names it.

Every reader returns the array (in the file's dtype and shape, with at least one element and of rank 1 to 4) and what
error messages call it. Whether it is images or labels is for `fastvae.datasets` to decide. What a header announces is
compared with the file's size before the values are read, so reading never takes more memory than announced. Checksums
of gzip and zip are verified; in a file without one a changed value goes unnoticed, but a changed length does not.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import mmap
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from fastvae.errors import DataError
from fastvae.files import open_regular

HEADER = 2**20  # no .npy header is longer
BLOCK = 2**24  # bytes of one read
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's; Python reads others in blocks of unbounded size


class _Header(NamedTuple):
    """What a file announces, and where its values begin."""

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    order: str = "C"

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_idx(path: str, mapped: bool = False) -> tuple[np.ndarray, str]:
    """Read an IDX file [1]_, plain or gzipped (its content tells): 0, 0, type, rank, big-endian sizes, values.

    Parameters
    ----------
    path : str
    mapped : bool
        Whether to leave the values on disk, mapped for access in random order; impossible for a gzipped file.

    Returns
    -------
    array : numpy.ndarray
    source : str

    Raises
    ------
    DataError
        If the file cannot be read, is not an IDX file, or does not have the size that its header announces.

    References
    ----------
    .. [1] Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database, http://yann.lecun.com/exdb/mnist
    """
    source = repr(path)
    with _opened(path) as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not zipped:
            return _read(file, _size(file), _idx_header, source, mapped), source
        if mapped:
            raise DataError(f"{source} is compressed, so its rows cannot be read one by one: gunzip it first")
        try:
            with gzip.open(file) as unzipped:
                return _read(unzipped, None, _idx_header, source), source
        except (EOFError, OSError, zlib.error, struct.error) as error:
            raise DataError(f"{source} is a truncated or damaged gzip file ({reason(error)}): get it again") from error


def read_npy(path: str, mapped: bool = False) -> tuple[np.ndarray, str]:
    """Read an .npy file of numpy's format 1.0 or 2.0, no pickles; parameters, returns and errors as for `read_idx`."""
    with _opened(path) as file:
        return _read(file, _size(file), _npy_header, repr(path), mapped), repr(path)


def npz_keys(path: str) -> list[str]:
    """The keys of the arrays in an .npz file; DataError if it is not a readable zip file."""
    with _unzipped(path) as archive:
        return [name[: -len(".npy")] for name in archive.namelist() if name.endswith(".npy")]


def read_npz(path: str, key: str) -> tuple[np.ndarray, str]:
    """Read the array under one of an .npz file's `npz_keys`; returns and errors as for `read_idx`."""
    source = f"{path!r}, key {key!r}"
    with _unzipped(path) as archive:
        return npz_member(archive, key, source), source


def npz_member(archive: zipfile.ZipFile, key: str, source: str, any_shape: bool = False) -> np.ndarray:
    """The array under a key of an open `zipfile.ZipFile`; pickles are refused.

    Parameters
    ----------
    archive : zipfile.ZipFile
    key, source : str
    any_shape : bool
        Whether the array may also be a single number, or empty.

    Raises
    ------
    DataError
        If it is not such an array, or announces another number of bytes than the archive's directory does.
    KeyError, zipfile.BadZipFile, ...
        If the archive is damaged.
    """
    member = archive.getinfo(key + ".npy")
    if member.compress_type not in _ZIP_METHODS:
        raise DataError(f"{source} is not compressed as numpy does it: write it with numpy.savez_compressed")
    with archive.open(member) as stream:
        return _read(stream, member.file_size, _npy_header, source, any_shape=any_shape)


def suffix(path: str | os.PathLike[str]) -> str:
    """The ending of a file's name in lower case, such as ``".npy"``."""
    return os.path.splitext(os.fspath(path))[1].lower()


def reason(error: BaseException) -> str:
    """The message of any exception, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        with open_regular(path) as file:
            yield file
    except OSError as error:
        raise DataError(f"{path!r} cannot be read ({reason(error)}): it must be a readable file") from error


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


@contextlib.contextmanager
def _unzipped(path: str) -> Iterator[zipfile.ZipFile]:
    """An open .npz file; whatever goes wrong in the block becomes a DataError."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except DataError:
        raise
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        KeyError,
        ValueError,
        RuntimeError,  # an encrypted member
        zlib.error,
        struct.error,
    ) as error:
        raise DataError(f"{path!r} cannot be read as .npz ({reason(error)}): write it with numpy.savez") from error


def _read(
    stream: Any,
    size: int | None,
    parse: Callable[[bytes, int, str], _Header],
    source: str,
    mapped: bool = False,
    any_shape: bool = False,
) -> np.ndarray:
    """The array in a stream of `size` bytes (None if that is unknown) that begins with a header which `parse` reads."""
    head = stream.read(HEADER)
    header = parse(head, len(head) if size is None else size, source)
    if size is not None:
        _check_length(header, size - header.start, source)
    if not any_shape and (header.n_bytes == 0 or len(header.shape) > 4):
        raise DataError(
            f"{source}: found {header.dtype} {header.shape}, at least one image (rank 3 or 4 in all) or label (rank 1) "
            "is needed"
        )
    data: mmap.mmap | bytearray
    if mapped:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        data.madvise(mmap.MADV_RANDOM)  # otherwise reading one row reads 128 kB around it
        start = header.start
    else:
        values, start = bytearray(head[header.start :]), 0
        while len(values) <= header.n_bytes and (more := stream.read(min(BLOCK, header.n_bytes + 1 - len(values)))):
            values += more
        _check_length(header, len(values), source, at_least=size is None)
        data = values
    array = np.ndarray(header.shape, header.dtype, data, start, order=header.order)
    if array.dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise DataError(f"{source}: its header announces bool, but some bytes are neither 0 nor 1: it is damaged")
    return array


def _idx_header(head: bytes, found: int, source: str) -> _Header:
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES or not 1 <= head[3] <= 4:
        raise DataError(
            f"{source}: wrong magic number 0x{head[:4].hex()}, an IDX file starts with 0x00000803 (uint8 images), "
            "0x00000d03 (float32 images) or 0x00000801 (uint8 labels); .npy and .npz files need these endings"
        )
    start = 4 + 4 * head[3]
    if len(head) < start:
        raise DataError(f"{source} is truncated: {found} bytes, but an IDX header of rank {head[3]} takes {start}")
    return _Header(start, np.dtype(_IDX_TYPES[head[2]]), struct.unpack(f">{head[3]}I", head[4:start]))


def _npy_header(head: bytes, found: int, source: str) -> _Header:
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = headers[version](stream)
    except (ValueError, KeyError, TypeError, SyntaxError, tokenize.TokenError, MemoryError, RecursionError) as error:
        raise DataError(f"{source}: no .npy header in its {found} bytes: write it again with numpy.save") from error
    if dtype.hasobject:
        raise DataError(
            f"{source}: found dtype {dtype}, a pickle, which is never loaded: save a uint8 array, or float in [0, 1]"
        )
    return _Header(stream.tell(), dtype, shape, "F" if fortran else "C")


def _check_length(header: _Header, found: int, source: str, at_least: bool = False) -> None:
    """Raise DataError unless `found` bytes, or at least that many, are what a header announces."""
    if header.n_bytes != found or min(header.shape, default=0) < 0:
        verb = "is truncated" if found < header.n_bytes else "does not end where it should"
        more = " at least" if at_least and found > header.n_bytes else ""
        raise DataError(
            f"{source} {verb}: its header announces {header.dtype} {header.shape}, {header.n_bytes} bytes, but{more} "
            f"{found} follow"
        )
