import hashlib
import json
import os
import random

import numpy as np
import pytest

from fastvae.checkpoint import container
from fastvae.checkpoint.container import DamagedError

VALUES = {
    "step": 3,
    "big": 2**127 + 1,  # as in the state of a numpy generator
    "nested": [{"weights": np.arange(6, dtype="float32").reshape(2, 3)}, [None, "text", True, 0.1]],
    "scalar": np.array(2.5, "float32"),
    "empty": np.zeros((0, 3), "int32"),
    "columns first": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "odd size": np.array([True, False, True]),
    "special": np.array([np.nan, -np.inf, -0.0, 1e-45], "float32"),
}


@pytest.fixture
def path(tmp_path):
    container.write(tmp_path / "file", VALUES)
    return tmp_path / "file"


def test_values_come_back_bit_for_bit(path):
    found = container.read(path)
    assert list(found) == list(VALUES)
    assert (found["step"], found["big"], found["nested"][1]) == (3, 2**127 + 1, [None, "text", True, 0.1])
    arrays = [(found["nested"][0]["weights"], VALUES["nested"][0]["weights"])]
    arrays += [(found[name], value) for name, value in VALUES.items() if isinstance(value, np.ndarray)]
    for array, expected in arrays:
        assert (array.shape, array.dtype.newbyteorder("=")) == (expected.shape, expected.dtype.newbyteorder("="))
        assert array.tobytes() == expected.astype(array.dtype).tobytes() and array.flags.writeable


def test_numpy_scalars_become_plain_ones(tmp_path):
    container.write(tmp_path / "a", {"a": np.int64(3), "b": np.float32(0.5), "c": (1, 2)})
    assert container.read(tmp_path / "a") == {"a": 3, "b": 0.5, "c": [1, 2]}


@pytest.mark.parametrize("value", [np.array([{}], dtype=object), {1, 2}, print])
def test_nothing_is_pickled(tmp_path, value):
    with pytest.raises(TypeError, match="neither a JSON value nor a numpy array"):
        container.write(tmp_path / "a", {"a": value})
    assert not (tmp_path / "a").exists()


def test_any_changed_byte_is_detected(path):
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(DamagedError):
            container.read(path)


def test_two_hundred_mutations_are_detected(path):
    rng, whole = random.Random(0), path.read_bytes()
    for number in range(200):
        start = rng.randrange(len(whole))
        stop = min(len(whole), start + rng.randrange(1, 9))
        mutated = [
            whole[:start] + rng.randbytes(stop - start) + whole[stop:],  # bytes overwritten
            whole[:start] + whole[stop:],  # lost
            whole[:start] + rng.randbytes(3) + whole[start:],  # inserted
            whole[:start],  # truncated
        ][number % 4]
        if mutated == whole:
            continue
        path.write_bytes(mutated)
        with pytest.raises(DamagedError) as error:
            container.read(path)
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DamagedError, match="cannot be read .No such file"):
        container.read(tmp_path / "none")
    with pytest.raises(DamagedError, match="cannot be read .Is a directory"):
        container.read(tmp_path)
    for content in (b"", b"PK\x03\x04", os.urandom(100)):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(DamagedError, match="does not begin as a checkpoint"):
            container.read(tmp_path / "other")


def sealed(path, header, arrays=b"\0" * 16):
    """A file with a valid checksum whose JSON is `header`."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = container.MAGIC + len(header).to_bytes(8, "little") + header + arrays
    path.write_bytes(content + hashlib.sha256(content).digest())


def array(**changes):
    return {"a": {container.ARRAY: 0, "dtype": "<f4", "shape": [2, 2], **changes}}


@pytest.mark.parametrize(
    "header",
    [
        b"[1]", b"3", b"\xff", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5_000,
        array(dtype="|O"), array(dtype="f4,O"), array(dtype="f4,f4"), array(dtype="V0"), array(dtype="no"),
        array(dtype=3), array(dtype=None), array(shape=[3, 2]), array(shape=[-1]), array(shape=[2**62, 4]),
        array(shape=[2**64, 0, 2]), array(shape=[1] * 70), array(shape=["2"]), array(shape=[True]), array(shape=4),
        array(shape=None), array(**{container.ARRAY: 4}), array(**{container.ARRAY: -4}),
        array(**{container.ARRAY: 2**70}), array(**{container.ARRAY: "0"}), array(**{container.ARRAY: None}),
    ],
    ids=lambda header: str(header)[:40],
)  # fmt: skip
def test_a_valid_checksum_over_nonsense_is_damage(tmp_path, header):
    sealed(tmp_path / "file", header)
    with pytest.raises(DamagedError) as error:
        container.read(tmp_path / "file")
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_arrays_may_overlap_and_numbers_be_nan(tmp_path):
    sealed(tmp_path / "file", b'{"x": NaN, ' + json.dumps({**array(), "b": array()["a"]}).encode()[1:])
    found = container.read(tmp_path / "file")
    assert np.isnan(found["x"]) and found["a"].shape == found["b"].shape == (2, 2)
