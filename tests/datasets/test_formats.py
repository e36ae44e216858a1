"""The readers against numpy's own. A file that is damaged anywhere gives an array or a DataError, nothing else."""

import gzip
import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastvae import datasets
from fastvae.datasets import formats
from fastvae.errors import DataError

VALUES = (np.arange(24) * 5).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "code, dtype", [(8, "u1"), (9, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_idx_of_every_type(tmp_path, code, dtype):
    (tmp_path / "a").write_bytes(struct.pack(">4B3I", 0, 0, code, 3, 2, 3, 4) + VALUES.astype(dtype).tobytes())
    array, source = formats.read_idx(str(tmp_path / "a"))
    assert array.dtype == dtype and source == repr(str(tmp_path / "a"))
    np.testing.assert_array_equal(array, VALUES)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", ["uint8", "bool", ">f4", "float64", "float16"])
def test_npy_and_npz_are_what_numpy_wrote(tmp_path, dtype, version, order):
    array = np.asarray(VALUES.astype(dtype), order=order)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    np.savez(tmp_path / "a.npz", a=array, b=array[0])
    assert formats.npz_keys(tmp_path / "a.npz") == ["a", "b"]
    for found, _ in (formats.read_npy(tmp_path / "a.npy"), formats.read_npz(tmp_path / "a.npz", "a")):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("name", ["a.idx", "a.gz", "a.npy", "a.npz"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_a_data_error_or_does_no_harm(tmp_path, name, data):
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, VALUES.astype("uint8"))
    elif name.endswith(".npz"):
        np.savez_compressed(path, x=VALUES.astype("uint8"))
    else:
        sound = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + VALUES.astype("uint8").tobytes()
        path.write_bytes(gzip.compress(sound) if name.endswith(".gz") else sound)
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content)))
    content[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        if name.endswith(".npz"):
            arrays = [formats.read_npz(path, key)[0] for key in formats.npz_keys(path)]
        else:
            arrays = [(formats.read_npy if name.endswith(".npy") else formats.read_idx)(path)[0]]
    except DataError as error:
        assert "\n" not in str(error)
    else:
        for array in arrays:
            assert isinstance(array, np.ndarray) and 1 <= array.ndim <= 4 and array.size


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 4)).astype("uint8")


def sound(path, kind):
    """Write the images; return where values without a checksum begin."""
    if kind == "npy":
        np.save(path, IMAGES)
        return len(path.read_bytes()) - IMAGES.size
    if kind.startswith("npz"):
        with open(path, "wb") as file:
            (np.savez_compressed if kind == "npz, deflated" else np.savez)(file, x=IMAGES)
        return None
    content = struct.pack(">4B3I", 0, 0, 8, 3, *IMAGES.shape) + IMAGES.tobytes()
    path.write_bytes(gzip.compress(content) if kind == "idx, gzipped" else content)
    return None if kind == "idx, gzipped" else 16


@pytest.mark.parametrize("kind", ["npy", "npz, stored", "npz, deflated", "idx", "idx, gzipped"])
@pytest.mark.parametrize("flip", [0x01, 0x20, 0x0B, 0xFF])
def test_a_changed_byte_is_an_error_or_without_effect(tmp_path, kind, flip):
    """Every byte in turn; the values of an uncompressed file have no checksum."""
    path = tmp_path / {"npy": "a.npy", "npz": "a.npz", "idx": "a"}[kind[:3]]
    values = sound(path, kind)
    content, expected, errors = path.read_bytes(), datasets.load(path), 0
    for place in range(len(content))[:values]:
        path.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
        try:
            np.testing.assert_array_equal(datasets.load(path), expected)
        except DataError as error:
            assert "\n" not in str(error)
            errors += 1
    assert errors > len(content[:values]) / 3


@pytest.mark.parametrize("kind", ["npy", "npz, stored", "npz, deflated", "idx", "idx, gzipped"])
def test_every_other_length_is_an_error(tmp_path, kind):
    path = tmp_path / {"npy": "a.npy", "npz": "a.npz", "idx": "a"}[kind[:3]]
    sound(path, kind)
    content = path.read_bytes()
    longer = [content + b"x"] if not kind.startswith("npz") else []  # a zip file may be followed by a comment
    for other in [*(content[:end] for end in range(len(content))), *longer]:
        path.write_bytes(other)
        with pytest.raises(DataError):
            datasets.load(path)


def header_of(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def zipped(method, content):
    def write(path):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("x.npy", content)

    return write


ZEROS = bytes(2**27)  # four times the memory that may be taken
LARGER = header_of(np.zeros((5, 4, 6), "uint8"))
IDX = struct.pack(">4B3I", 0, 0, 8, 3, 5, 4, 6) + bytes(120)
HUGE = IDX[:4] + b"\xff" * 12 + IDX[16:]
SIZES = {
    "npz that grows": ("a.npz", zipped(zipfile.ZIP_DEFLATED, LARGER + ZEROS), "does not end where it should"),
    "npz of bzip2": ("a.npz", zipped(zipfile.ZIP_BZIP2, LARGER + ZEROS), "is not compressed as numpy does it"),
    "gz that grows": ("a.gz", lambda path: path.write_bytes(gzip.compress(IDX + ZEROS)), "does not end .* at least"),
    "gz that announces": ("a.gz", lambda path: path.write_bytes(gzip.compress(HUGE)), "is truncated"),
    "npy that grows": ("a.npy", lambda path: path.write_bytes(LARGER + ZEROS), "does not end where it should"),
}


@pytest.mark.parametrize("name, write, message", SIZES.values(), ids=SIZES)
def test_what_a_header_announces_bounds_the_memory(tmp_path, name, write, message):
    write(tmp_path / name)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            datasets.load(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
