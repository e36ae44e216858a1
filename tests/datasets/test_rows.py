"""Rows on disk against the same array in memory. Any damage to a file is an error, or changes only values."""

import struct
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from fastvae import on_disk
from fastvae.errors import DataError

BYTES = np.random.default_rng(0).integers(0, 256, (20, 5, 4)).astype("uint8")
ROWS = np.array([3, 19, 0, 3])


def idx(array, type_code=0x08):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, type_code, array.ndim, *array.shape) + array.tobytes()


def write(path, kind, array=BYTES):
    path = path / {"npy": "a.npy", "idx": "images-idx3-ubyte", "hdf5": "a.h5", "folder": "folder"}[kind]
    if kind == "npy":
        np.save(path, array)
    elif kind == "idx":
        path.write_bytes(idx(array))
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            options = dict(chunks=(3, *array.shape[1:]), compression="gzip", fletcher32=True)
            file.create_dataset("set/images", data=array, **options)
    else:
        path.mkdir()
        for number, image in enumerate(array):
            Image.fromarray(image).save(path / f"{number:03d}.png")
        (path / "README.txt").write_text("no image")
    return path


@pytest.mark.parametrize("kind", ["npy", "idx", "hdf5", "folder"])
def test_rows_are_those_of_the_array(tmp_path, kind):
    rows = on_disk(write(tmp_path, kind))
    assert rows.shape == (20, 1, 5, 4) and rows.dtype == np.uint8 and len(rows) == 20
    assert rows[ROWS].dtype == np.uint8 and rows[ROWS].flags.writeable
    np.testing.assert_array_equal(rows[ROWS], BYTES[ROWS][:, None])
    for whole in (np.asarray(rows), np.array(rows), np.array(rows, "float32")):
        np.testing.assert_array_equal(whole, BYTES[:, None])
    with pytest.raises(ValueError, match="without being read"):
        rows.__array__(copy=False)


@pytest.mark.parametrize("kind", ["npy", "hdf5", "folder"])
def test_channels_come_first(tmp_path, kind):
    colours = np.random.default_rng(1).integers(0, 256, (6, 5, 4, 3)).astype("uint8")
    rows = on_disk(write(tmp_path, kind, colours))
    assert rows.shape == (6, 3, 5, 4)
    np.testing.assert_array_equal(rows[np.array([5, 0])], colours[[5, 0]].transpose(0, 3, 1, 2))


def test_labels_and_big_endian_floats_are_native(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(9, dtype=">i4"))
    labels = on_disk(tmp_path / "y.npy")
    assert labels[ROWS % 9].tolist() == [3, 1, 0, 3] and labels[ROWS % 9].dtype == np.dtype("=i4") == labels.dtype
    (tmp_path / "x").write_bytes(idx((BYTES / 255).astype(">f4"), 0x0D))
    np.testing.assert_allclose(on_disk(tmp_path / "x")[ROWS][:, 0], BYTES[ROWS] / 255, rtol=1e-6)


def test_hdf5_needs_its_key_where_there_are_several(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["x"], file["y"] = BYTES, np.arange(20)
    assert on_disk(tmp_path / "a.hdf5", key="y")[ROWS].tolist() == ROWS.tolist()
    with pytest.raises(DataError, match=r"no dataset key=None: give one of \['x', 'y'\]"):
        on_disk(tmp_path / "a.hdf5")


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match="needs h5py, which is not installed: pip install h5py"):
        on_disk(tmp_path / "a.h5")


def folder_with(name, content):
    def make(path):
        folder = write(path, "folder", BYTES[:3])
        content.save(folder / name) if isinstance(content, Image.Image) else (folder / name).write_bytes(content)
        return folder

    return make


def cut(kind, end):
    def make(path):
        path = write(path, kind)
        path.write_bytes(path.read_bytes()[:end])
        return path

    return make


def file(name, content):
    return lambda path: ((path / name).write_bytes(content), path / name)[1]


def saved(array):
    return lambda path: (np.save(path / "a.npy", array), path / "a.npy")[1]


def longer_npy(path):
    path = write(path, "npy")
    path.write_bytes(path.read_bytes() + b"abc")
    return path


LARGER = Image.fromarray(np.zeros((6, 4), "uint8"))
MALFORMED = {
    "absent": (lambda path: path / "no.npy", r"no.npy' cannot be read .*No such file"),
    "empty": (file("a.npy", b""), "a.npy': no .npy header in its 0 bytes"),
    "npy header": (file("a.npy", b"\x93NUMPY\x01\x00\x04\x00{'a'"), "no .npy header"),
    "npy cut": (cut("npy", -1), r"truncated: its header announces uint8 \(20, 5, 4\), 400 bytes, but 399 follow"),
    "npy longer": (longer_npy, r"does not end where it should: .* 400 bytes, but 403 follow"),
    "npy of text": (saved(np.array(["a"])), "found <U1"),
    "idx magic": (file("a", b"\x89PNG....."), "wrong magic number 0x89504e47"),
    "idx cut": (cut("idx", -7), "truncated"),
    "idx gzipped": (file("a.gz", b"\x1f\x8b" + bytes(30)), "is compressed, so its rows cannot be read one by one"),
    "npz": (file("a.npz", b"PK"), "is an archive, .* save each array as .npy"),
    "hdf5 damaged": (file("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(60)), "cannot be read as HDF5"),
    "hdf5 cut": (cut("hdf5", 900), "cannot be read as HDF5"),
    "no images": (lambda path: path, "holds no images: their names end in"),
    "image of another size": (folder_with("001.png", LARGER), r"001.png', row 1: found \(6, 4\).* the first"),
    "image of another mode": (folder_with("001.png", LARGER.convert("RGBA")), "row 1: found an image of mode RGBA"),
    "image of 16 bits": (
        folder_with("001.png", Image.fromarray(np.zeros((5, 4), "uint16"))),
        "row 1: found an image of mode I;16, .*: scale its values to 8 bits",
    ),
    "no image": (folder_with("002.png", b"text"), "002.png', row 2: cannot be read as an image"),
    "image cut": (folder_with("000.png", b"\x89PNG\r\n\x1a\n"), "000.png', row 0: cannot be read as an image"),
}


@pytest.mark.parametrize("make, message", MALFORMED.values(), ids=MALFORMED)
def test_damage_is_one_line_that_names_the_file(tmp_path, make, message):
    with pytest.raises(DataError, match=message) as caught:
        rows = on_disk(make(tmp_path))
        rows[np.arange(len(rows))]
    assert "\n" not in str(caught.value)


def test_a_key_is_for_hdf5(tmp_path):
    with pytest.raises(DataError, match="key='x' names a dataset of an HDF5 file"):
        on_disk(write(tmp_path, "npy"), key="x")


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = write(tmp_path, "npy")
    rows = on_disk(path)
    with open(path, "r+b") as file:
        file.truncate(200)
    with pytest.raises(DataError, match="a.npy' became shorter while it was read"):
        rows[ROWS]


def test_a_damaged_chunk_of_hdf5_is_found(tmp_path):
    path = write(tmp_path, "hdf5")
    with h5py.File(path) as stored:
        place = stored["set/images"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    content[place.byte_offset + place.size // 2] ^= 0x10
    path.write_bytes(content)
    rows = on_disk(path)
    rows[np.arange(6)]
    with pytest.raises(DataError, match=r"a.h5', dataset '/set/images': rows 6 to 8 cannot be read"):
        rows[np.arange(6, 9)]
