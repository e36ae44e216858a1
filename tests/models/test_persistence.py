import json
import os
import warnings

import numpy as np
import pytest

from fastvae.errors import DataError
from fastvae.models import persistence

PARAMS = [("weight", np.arange(6, dtype="float32").reshape(2, 3)), (None, np.float32(1.5) * np.ones(4, "float32"))]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "params.npz"
    persistence.write(path, "some.VAE", {"n_latent": 2}, PARAMS)
    return path


def rewrite(path, **changes):
    """The file with some of its entries replaced (None: removed)."""
    with np.load(path) as archive:
        entries = {**archive, **changes}
    np.savez(path, **{key: value for key, value in entries.items() if value is not None})


def header(path, **changes):
    with np.load(path) as archive:
        return np.array(json.dumps({**json.loads(str(archive["header"])), **changes}))


def refused(path):
    with pytest.raises(DataError) as error:
        persistence.read(path)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def test_round_trip_is_bit_for_bit(path):
    contents = persistence.read(path)
    assert (contents.model_class, contents.config) == ("some.VAE", {"n_latent": 2})
    for (name, value), (expected_name, expected) in zip(contents.params, PARAMS, strict=True):
        assert name == expected_name and value.dtype == np.float32 and value.tobytes() == expected.tobytes()


def test_signs_of_zero_and_denormals_survive(tmp_path):
    value = np.array([-0.0, 1e-45, -1e-40, np.finfo("float32").max], "float32")
    persistence.write(tmp_path / "a.npz", "A", {}, [("a", value)])
    assert persistence.read(tmp_path / "a.npz").params[0][1].tobytes() == value.tobytes()


def test_the_file_holds_no_pickle(path):
    with np.load(path, allow_pickle=False) as archive:
        assert sorted(archive.files) == ["header", "param_0000", "param_0001"]
        assert all(archive[key].dtype != object for key in archive.files)


def test_an_interrupted_write_leaves_the_old_file_and_no_other(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        persistence.write(path, "some.VAE", {}, [("weight", np.zeros(3, "float32"))])
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_a_write_replaces_the_file_and_leaves_no_draft(path):
    persistence.write(path, "other.VAE", {}, [])
    assert persistence.read(path) == ("other.VAE", {}, [])
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_write_of_values_that_are_not_finite_keeps_the_old_file(path, value):
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"parameter 1 \(b\) holds NaN or infinity, so nothing was saved"):
        persistence.write(path, "A", {}, [("a", np.ones(2, "float32")), ("b", np.array([0, value], "float32"))])
    assert path.read_bytes() == before


def test_a_write_takes_floats_only(tmp_path):
    with pytest.raises(DataError, match=r"parameter 0 \(a\) is int64; only floats can be saved"):
        persistence.write(tmp_path / "a.npz", "A", {}, [("a", np.arange(3))])


def test_a_path_that_cannot_be_written(tmp_path):
    for path in (tmp_path / "no" / "folder.npz", tmp_path):
        with pytest.raises(DataError, match="cannot be written"):
            persistence.write(path, "A", {}, PARAMS)
    assert os.listdir(tmp_path) == []


def test_a_missing_file_and_a_folder(tmp_path):
    assert "cannot be read (No such file or directory)" in refused(tmp_path / "none.npz")
    assert "cannot be read (Is a directory)" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00", b"text\n"])
def test_files_of_other_kinds(tmp_path, content):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    assert "not a parameter file of fastvae" in refused(path)


def test_an_npz_of_something_else(tmp_path):
    np.savez(tmp_path / "images.npz", images=np.zeros(3))
    assert "not a whole parameter file of fastvae (KeyError)" in refused(tmp_path / "images.npz")


def test_a_pickle_inside_is_not_loaded(path):
    rewrite(path, header=np.array([{"format": 1}], dtype=object))
    assert "not a whole parameter file of fastvae (DataError)" in refused(path)


def test_every_truncation_is_noticed(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        refused(path)


def test_no_flipped_byte_changes_what_is_read(path):
    """Each byte in turn: the file is refused, or (an unused field of the zip) read as it was."""
    whole, n_refused = path.read_bytes(), 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                contents = persistence.read(path)
        except DataError:
            n_refused += 1
        else:
            assert (contents.model_class, contents.config) == ("some.VAE", {"n_latent": 2})
            assert all(a.tobytes() == b.tobytes() for (_, a), (_, b) in zip(contents.params, PARAMS, strict=True))
    assert n_refused > len(whole) / 2


def test_a_newer_format(path):
    rewrite(path, header=header(path, format=2))
    assert "has format 2, newer than 1, the newest known here: upgrade fastvae" in refused(path)


@pytest.mark.parametrize(
    "changes", [{"names": ["weight"]}, {"names": 3}, {"class": 1}, {"config": []}, {"format": "1"}], ids=str
)
def test_a_header_that_does_not_fit(path, changes):
    rewrite(path, header=header(path, **changes))
    refused(path)


@pytest.mark.parametrize("changes", [{"param_0001": None}, {"param_0002": np.ones(1, "float32")}])
def test_missing_and_extra_arrays(path, changes):
    rewrite(path, **changes)
    assert "its header and its" in refused(path)


@pytest.mark.parametrize("value", [np.array([np.nan], "float32"), np.array([np.inf]), np.array([1]), np.array(["a"])])
def test_values_that_are_not_finite_floats(path, value):
    rewrite(path, param_0001=value)
    assert "parameter 1 (None) is not all finite floats" in refused(path)


@pytest.mark.parametrize(
    "changes",
    [{"names": "ab"}, {"names": [1, 2]}, {"names": None}, {"format": True}, {"format": 0}, {"format": -1},
     {"format": None}, {"class": None}, {"class": ["a"]}, {"config": "{}"}, {"config": None}],
    ids=str,
)  # fmt: skip
def test_a_header_of_other_kinds(path, changes):
    rewrite(path, header=header(path, **changes))
    refused(path)
