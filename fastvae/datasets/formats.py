"""Read arrays from IDX, .npy and .npz files, with an error that names the file for everything that can be wrong in one.

Every reader returns the array (read-only, in the file's dtype and shape, at least one element, rank 1 to 4) and what
to call it in an error message. Whether it is a set of images or labels is for `fastvae.datasets` to judge. Checksums of
gzip and zip are verified to the end; a file without one can hide a changed value, but no changed length.
"""
import contextlib
import gzip
import io
import math
import mmap
import struct
import tokenize
import zipfile
import zlib

import numpy as np

from fastvae.errors import DataError

HEADER = 2**20  # no .npy header is longer
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path, mapped=False):
    """Read an IDX file [1]_, plain or gzipped (told by its content): 0, 0, type, rank, big-endian sizes, values.

    Parameters
    ----------
    path : str
    mapped : bool
        Whether to leave the values on disk, mapped for access in random order; a gzipped file cannot be.

    Returns
    -------
    array : numpy.ndarray
    source : str

    Raises
    ------
    DataError
        If the file cannot be read, is no IDX file, or its size is not what its header announces.

    References
    ----------
    .. [1] Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database, http://yann.lecun.com/exdb/mnist
    """
    data, source = _contents(path, mapped), repr(path)
    if data[:2] == b"\x1f\x8b":
        if mapped:
            raise DataError(f"{source} is compressed, so its rows cannot be read one by one: gunzip it first")
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error, struct.error) as error:
            raise DataError(f"{source} is a truncated or damaged gzip file ({reason(error)}): get it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not 1 <= data[3] <= 4:
        raise DataError(
            f"{source}: wrong magic number 0x{data[:4].hex()}, an IDX file starts with 0x00000803 (uint8 images), "
            "0x00000d03 (float32 images) or 0x00000801 (uint8 labels); .npy and .npz are told by these endings"
        )
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{source} is truncated: {len(data)} bytes, but an IDX header of rank {data[3]} takes {start}")
    values = _values(data, start, np.dtype(_IDX_TYPES[data[2]]), struct.unpack(f">{data[3]}I", data[4:start]), source)
    return values, source


def read_npy(path, mapped=False):
    """Read an .npy file of numpy's format 1.0 or 2.0, no pickles; parameters, returns and errors as for `read_idx`."""
    return _npy(_contents(path, mapped), repr(path)), repr(path)


def npz_keys(path):
    """The keys of the arrays in an .npz file, a list of str; DataError if it is no readable zip file."""
    with _unzipped(path) as archive:
        return [name[: -len(".npy")] for name in archive.namelist() if name.endswith(".npy")]


def read_npz(path, key):
    """Read the array under one of an .npz file's `npz_keys`; returns and errors as for `read_idx`."""
    with _unzipped(path) as archive:
        data = archive.read(key + ".npy")
    source = f"{path!r}, key {key!r}"
    return _npy(data, source), source


def _contents(path, mapped=False):
    try:
        with open(path, "rb") as file:
            if not mapped:
                return file.read()
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            data.madvise(mmap.MADV_RANDOM)  # otherwise each row of a shuffle reads 128 kB around it
            return data
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise DataError(f"{path!r} cannot be read ({reason(error)}): it must be a readable file") from error


@contextlib.contextmanager
def _unzipped(path):
    """An open .npz file; what goes wrong inside is a DataError (encrypted members raise RuntimeError)."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error, struct.error) as error:
        raise DataError(f"{path!r} cannot be read as .npz ({reason(error)}): write it with numpy.savez") from error


def _npy(data, source):
    """Parse the bytes of an .npy file (numpy's format 1.0 or 2.0)."""
    stream = io.BytesIO(data[:HEADER])
    try:
        version = np.lib.format.read_magic(stream)
        headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = headers[version](stream)
    except (ValueError, KeyError, TypeError, SyntaxError, tokenize.TokenError, MemoryError, RecursionError) as error:
        raise DataError(f"{source}: no .npy header in its {len(data)} bytes: write it again with numpy.save") from error
    if dtype.hasobject:
        raise DataError(
            f"{source}: found dtype {dtype}, a pickle, which is never loaded: save a uint8 array, or float in [0, 1]"
        )
    return _values(data, stream.tell(), dtype, shape, source, order="F" if fortran else "C")


def _values(data, start, dtype, shape, source, order="C"):
    """The array behind a header, whose announcement must fit the bytes that follow."""
    expected, found = math.prod(shape) * dtype.itemsize, len(data) - start
    if expected != found or min(shape, default=0) < 0:
        verb = "is truncated" if found < expected else "does not end where it should"
        raise DataError(f"{source} {verb}: its header announces {dtype} {shape}, {expected} bytes, but {found} follow")
    if expected == 0 or len(shape) > 4:
        raise DataError(
            f"{source}: found {dtype} {shape}, at least one image (rank 3 or 4 in all) or label (rank 1) is needed"
        )
    if dtype.kind == "b" and np.frombuffer(data, np.uint8, math.prod(shape), start).max() > 1:
        raise DataError(f"{source}: its header announces bool, but some bytes are neither 0 nor 1: it is damaged")
    return np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape, order=order)


def reason(error):
    """An error of the standard library in one line."""
    return " ".join(str(error).split()) or type(error).__name__
