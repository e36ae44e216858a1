import ast
import gzip
import hashlib
import logging
import os
import pathlib
import re
import struct
import subprocess
import sys
import traceback
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from fastvae import datasets
from fastvae.datasets import formats
from fastvae.errors import ConfigurationError, DataError, FastvaeError

SAMPLE = pathlib.Path(datasets.__file__).parent / "data"
DEBIAN = pathlib.Path("/usr/share/datasets/fashion-mnist")
INSTALL = "apt-get install dataset-fashion-mnist"
# sha256 of the unpacked files
DIGESTS = {
    "t10k-images-idx3-ubyte.gz": "7a6d8e07ea021ec5bc73135ebd0a5770799557ec6f8242d8749c4f32a3cf4643",
    "t10k-labels-idx1-ubyte.gz": "b40abac7ec8228f434940f579deb7cf7b6e3103b5274cb91d1545771f5ef1c8b",
    "train-images-idx3-ubyte.gz": "626b8bf8433327de7912bae1d0e4c70fdcca53de33970297bf9a2205500c574a",
    "train-labels-idx1-ubyte.gz": "86cccad95ab36653e416733235fc8fbb50b9429417f4eb2feb35e0b9a294e83c",
}
PIXELS = np.arange(5 * 4 * 6, dtype=np.uint8).reshape(5, 4, 6)
FLOATS = PIXELS / np.float32(255)
LABELS = np.array([3, 1, 0, 2, 1], dtype=np.uint8)


def idx(array, type_code=0x08):
    """An IDX file of the array, by the format's description."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, type_code, array.ndim, *array.shape) + array.tobytes()


def digests(folder):
    return {file.name: hashlib.sha256(gzip.decompress(file.read_bytes())).hexdigest() for file in folder.glob("*.gz")}


@pytest.fixture
def full_set():
    if not DEBIAN.is_dir():
        assert "CI" not in os.environ, f"CI tests the full Fashion-MNIST: {INSTALL}"
        pytest.skip(f"the full Fashion-MNIST is not installed: {INSTALL}")
    return DEBIAN


# The shipped sample


def test_sample_has_its_counts_type_range_and_classes():
    for split, count in (("train", 5000), ("test", 1000)):
        images, labels = datasets.load("fashion-mnist-sample", split, labels=True)
        assert images.shape == (count, 1, 28, 28) and images.dtype == np.float32
        assert images.min() == 0 and images.max() == 1 and images.flags.c_contiguous and images.flags.writeable
        assert labels.shape == (count,) and labels.dtype == np.int64
        assert np.bincount(labels).shape == (10,) and np.bincount(labels).min() > 0.08 * count
    assert datasets.load().shape == (5000, 1, 28, 28)


def test_sample_is_the_one_that_was_cut_and_small():
    assert digests(SAMPLE) == DIGESTS
    assert sum(file.stat().st_size for file in SAMPLE.iterdir()) < 4e6


def test_sample_ships_its_attribution():
    text = (SAMPLE / "README.md").read_text()
    for part in ("Copyright (c) 2017 Zalando SE", "Permission is hereby granted", "arXiv:1708.07747", "Han Xiao"):
        assert part in text


def test_sample_is_the_head_of_debians_set(full_set):
    for split in datasets.SPLITS:
        ours, our_labels = datasets.load("fashion-mnist-sample", split, labels=True)
        full, full_labels = datasets.load("fashion-mnist-full", split, labels=True)
        assert len(full) == {"train": 60000, "test": 10000}[split]
        np.testing.assert_array_equal(ours, full[: len(ours)])
        np.testing.assert_array_equal(our_labels, full_labels[: len(ours)])


def test_the_documented_cut_makes_the_sample(full_set, tmp_path):
    (script,) = re.findall("```python\n(.*?)```", (SAMPLE / "README.md").read_text(), flags=re.DOTALL)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert digests(tmp_path) == DIGESTS


# Names


def test_fashion_mnist_takes_the_full_set_and_says_so(full_set, caplog):
    with caplog.at_level(logging.WARNING, logger="fastvae"):
        assert datasets.load("fashion-mnist", "test").shape == (10000, 1, 28, 28)
    (record,) = caplog.records
    assert "10000 test images" in record.getMessage() and "'fashion-mnist-sample'" in record.getMessage()


def test_fashion_mnist_falls_back_to_the_sample_and_says_so(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(datasets, "_DEBIAN", str(tmp_path / "absent"))
    with caplog.at_level(logging.WARNING, logger="fastvae"):
        assert datasets.load("fashion-mnist", "test").shape == (1000, 1, 28, 28)
    (record,) = caplog.records
    assert "1000 test images" in record.getMessage() and INSTALL in record.getMessage()


def test_a_name_says_nothing_when_there_is_no_choice(caplog):
    datasets.load("fashion-mnist-sample", "test")
    assert not caplog.records


def test_a_path_object_is_never_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("fashion-mnist-sample", x=PIXELS)
    os.rename("fashion-mnist-sample.npz", "fashion-mnist-sample")
    with pytest.raises(DataError, match="wrong magic number 0x504b0304"):
        datasets.load(pathlib.Path("fashion-mnist-sample"))


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", PIXELS)
    assert len(datasets.load("~/x.npy")) == 5


# Files and directories


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("pack, end", [(bytes, ""), (gzip.compress, ".gz"), (bytes, ".gz")])
def test_directory_in_mnists_naming(tmp_path, dot, pack, end):
    for stem, images, labels in (("train", PIXELS, LABELS), ("t10k", PIXELS[:2], LABELS[:2])):
        (tmp_path / f"{stem}-images{dot}idx3-ubyte{end}").write_bytes(pack(idx(images)))
        (tmp_path / f"{stem}-labels{dot}idx1-ubyte{end}").write_bytes(pack(idx(labels)))
    for split, count in (("train", 5), ("test", 2)):
        images, labels = datasets.load(tmp_path, split, labels=True)
        np.testing.assert_array_equal(images[:, 0], FLOATS[:count])
        np.testing.assert_array_equal(labels, LABELS[:count])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("images", "labels", "x_test", "y_test"),
        ("x", "y", "test_images", "test_labels"),
    ],
)
def test_npz_keys(tmp_path, save, keys):
    save(tmp_path / "set.npz", **dict(zip(keys, (PIXELS, LABELS, PIXELS[3:], LABELS[3:]))), other=np.array(["a"]))
    for split, part in (("train", slice(0, 5)), ("test", slice(3, 5))):
        images, labels = datasets.load(tmp_path / "set.npz", split, labels=True)
        np.testing.assert_array_equal(images[:, 0], FLOATS[part])
        np.testing.assert_array_equal(labels, LABELS[part])


def test_single_files_hold_training_images(tmp_path):
    (tmp_path / "any-name").write_bytes(idx(PIXELS))
    (tmp_path / "floats").write_bytes(idx(FLOATS.astype(">f4"), 0x0D))
    np.save(tmp_path / "a.npy", FLOATS)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(PIXELS))
    for name in ("any-name", "floats", "a.npy", "fortran.npy"):
        images = datasets.load(tmp_path / name)
        np.testing.assert_array_equal(images[:, 0], FLOATS)
        assert images.dtype == np.float32 and images.flags.c_contiguous and images.flags.writeable
        assert datasets.holds(tmp_path / name)
        assert not datasets.holds(tmp_path / name, "test") and not datasets.holds(tmp_path / name, labels=True)


def test_holds_tells_what_load_finds(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS))
    assert datasets.holds(tmp_path) and not datasets.holds(tmp_path, labels=True)
    assert not datasets.holds(tmp_path, "test") and not datasets.holds(tmp_path, "test", labels=True)
    np.savez(tmp_path / "a.npz", x_train=PIXELS, x_test=PIXELS, y_test=LABELS)
    assert datasets.holds(tmp_path / "a.npz") and not datasets.holds(tmp_path / "a.npz", labels=True)
    assert datasets.holds(tmp_path / "a.npz", "test", labels=True)
    assert datasets.holds("fashion-mnist", "test", labels=True)


# Arrays


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "longdouble"])
def test_floats_keep_their_values(dtype):
    values = np.linspace(0, 1, 24, dtype=dtype).reshape(2, 3, 4)
    images = datasets.as_images(values)
    assert images.dtype == np.float32 and images.shape == (2, 1, 3, 4)
    np.testing.assert_array_equal(images[:, 0], values.astype("float32"))


def test_uint8_is_divided_by_255_exactly_rounded():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    np.testing.assert_array_equal(datasets.as_images(values)[0, 0], (values[0] / np.float64(255)).astype("float32"))


def test_bool_is_0_and_1():
    np.testing.assert_array_equal(datasets.as_images(np.eye(4, dtype=bool)[None])[0, 0], np.eye(4))


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_may_come_first_or_last(channels):
    last = np.random.default_rng(0).random((4, 5, 7, channels), dtype="float32")
    first = last.transpose(0, 3, 1, 2)
    for array in (last, first, np.ascontiguousarray(first)):
        images = datasets.as_images(array)
        np.testing.assert_array_equal(images, first)
        assert images.flags.c_contiguous


def test_axis_1_is_the_channel_where_both_could_be():
    assert datasets.as_images(np.zeros((2, 3, 8, 1), bool)).shape == (2, 3, 8, 1)


def test_nothing_to_convert_is_not_copied():
    images = np.zeros((2, 1, 3, 3), "float32")
    assert np.shares_memory(datasets.as_images(images), images)


def test_bytes_may_stay_bytes():
    images = datasets.as_images(PIXELS, keep_bytes=True)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[:, 0], PIXELS)
    assert datasets.as_images(FLOATS, keep_bytes=True).dtype == np.float32


def test_binarized_images_are_bernoulli():
    images = np.full((100, 1, 10, 10), 0.3, "float32")
    drawn = datasets.binarized(images, seed=1)
    assert drawn.dtype == bool and drawn.shape == images.shape
    assert abs(drawn.mean() - 0.3) < 4 * (0.3 * 0.7 / images.size) ** 0.5
    assert np.array_equal(drawn, datasets.binarized(images, seed=1))
    assert not np.array_equal(drawn, datasets.binarized(images, seed=2))
    assert datasets.binarized(np.eye(4)[None]).tolist() == (np.eye(4)[None, None] == 1).tolist()


# Errors: each case is a function that makes the file and returns load's first argument, its options, and the message.


def file(name, data):
    return lambda path: ((path / name).write_bytes(data), path / name)[1]


def npy(array, **options):
    return lambda path: (np.save(path / "a.npy", array, **options), path / "a.npy")[1]


def npz(**arrays):
    return lambda path: (np.savez(path / "a.npz", **arrays), path / "a.npz")[1]


def directory(images, labels):
    return lambda path: (
        (path / "train-images-idx3-ubyte").write_bytes(images),
        (path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels)),
        path,
    )[2]


def damaged_npz(path):
    np.savez(path / "a.npz", x=PIXELS)
    data = bytearray((path / "a.npz").read_bytes())
    data[data.index(PIXELS.tobytes())] ^= 1
    (path / "a.npz").write_bytes(data)
    return path / "a.npz"


def zip_of(member, data, method=zipfile.ZIP_STORED):
    def make(path):
        with zipfile.ZipFile(path / "a.npz", "w", method) as archive:
            archive.writestr(member, data)
        return path / "a.npz"

    return make


def npy_as_bool(path):
    np.save(path / "a.npy", PIXELS)
    (path / "a.npy").write_bytes((path / "a.npy").read_bytes().replace(b"|u1", b"|b1"))
    return path / "a.npy"


def fifo(path):
    os.mkfifo(path / "a.npy")
    return path / "a.npy"


def symlink_loop(path):
    (path / "loop").symlink_to(path / "loop")
    return path / "loop"


NAN = np.where(np.arange(120).reshape(5, 4, 6) == 7, np.nan, FLOATS)
GZIPPED = gzip.compress(idx(PIXELS))
MALFORMED = {
    "unknown name": (lambda path: "fashion-mnist-tiny", {}, "'fashion-mnist-tiny': take one of the names"),
    "no such file": (lambda path: path / "no.npy", {}, "no data set, file or directory is called '.*/no.npy'"),
    "symlink loop": (symlink_loop, {}, "no data set, file or directory is called '.*/loop'"),
    "unreadable file": (lambda path: "/proc/self/mem", {}, "'/proc/self/mem' cannot be read .*Errno 5"),
    "name of wrong type": (lambda path: 28, {}, "name_or_path=28 must be one of the names"),
    "unknown split": (lambda path: "fashion-mnist-sample", {"split": "valid"}, "split='valid' must be one of 'train'"),
    "labels no bool": (lambda path: "fashion-mnist-sample", {"labels": "y.npy"}, "labels='y.npy' must be True or"),
    "empty directory": (lambda path: path, {}, "has no train images: .* train-images-idx3-ubyte or .*gz"),
    "directory without split": (directory(idx(PIXELS), idx(LABELS)), {"split": "test"}, "test images: .* t10k-images"),
    "npz without labels": (npz(x=PIXELS), {"labels": True}, "a.npz' has no train labels: .* as y_train or"),
    "npy without split": (npy(PIXELS), {"split": "test"}, "a.npy' has no test images: a file of one array contains"),
    "idx without labels": (file("t10k-images-idx3-ubyte", idx(PIXELS)), {"labels": True}, "no train labels: a file"),
    "npz of other keys": (npz(imgs=PIXELS, y=LABELS), {}, r"its keys are \['imgs', 'y'\]: .* as x_train or"),
    "npz of two images": (npz(x=PIXELS, x_train=PIXELS), {}, "several train images, as x_train and x: keep one"),
    "npz no zip": (file("a.npz", b"PK but no zip"), {}, "cannot be read as .npz .File is not a zip file"),
    "npz of wrong checksum": (damaged_npz, {}, "cannot be read as .npz .Bad CRC-32"),
    "npz of bzip2": (zip_of("x.npy", b"text", zipfile.ZIP_BZIP2), {}, "key 'x' is not compressed as numpy does it"),
    "fifo": (fifo, {}, "a.npy' is a FIFO, not a regular file: give"),
    "npz member no npy": (zip_of("x.npy", b"text"), {}, "a.npz', key 'x': no .npy header in its 4 bytes"),
    "npy empty file": (file("a.npy", b""), {}, "a.npy': no .npy header in its 0 bytes"),
    "npy header damaged": (file("a.npy", b"\x93NUMPY\x01\x00\x04\x00{'a'"), {}, "a.npy': no .npy header"),
    "npy pickled": (npy(np.array([None, 1])), {}, "a.npy': found dtype object, a pickle, .* save a uint8"),
    "npz pickled": (npz(x=np.array([{}])), {}, "key 'x': found dtype object, a pickle"),
    "idx wrong magic": (file("a.png", b"\x89PNG\r\n"), {}, "a.png': wrong magic number 0x89504e47, .*0x00000803"),
    "idx too short": (file("a", b"\0"), {}, "a': wrong magic number 0x00, an IDX"),
    "idx of rank 5": (file("a", b"\0\0\x08\x05" + bytes(20)), {}, "wrong magic number 0x00000805"),
    "idx header cut": (file("a", idx(PIXELS)[:10]), {}, "10 bytes, but an IDX header of rank 3 takes 16"),
    "idx cut": (file("a", idx(PIXELS)[:-1]), {}, r"truncated: .* uint8 \(5, 4, 6\), 120 bytes, but 119 follow"),
    "idx with more": (file("a", idx(PIXELS) + b"\n"), {}, "does not end where it should: .* 120 bytes, but 121 follow"),
    "gzip cut": (file("a.gz", GZIPPED[:-20]), {}, "a.gz' is a truncated or damaged gzip file"),
    "gzip of wrong checksum": (file("a.gz", GZIPPED[:-8] + bytes(8)), {}, "damaged gzip file .CRC check failed"),
    "gzip with garbage": (file("a.gz", GZIPPED + b"more"), {}, "damaged gzip file .Not a gzipped file"),
    "npy of bool with other bytes": (npy_as_bool, {}, "announces bool, but some bytes are neither 0 nor 1"),
    "idx without images": (file("a", idx(PIXELS[:0])), {}, r"found uint8 \(0, 4, 6\), at least one image"),
    "npy of rank 5": (npy(PIXELS[None, None]), {}, r"uint8 \(1, 1, 5, 4, 6\), at least one image .*rank 3 or 4"),
    "idx of labels": (file("a", idx(LABELS)), {}, r"a': found rank 1, shape \(5,\), but images are \(N, H, W\)"),
    "npy of rank 2": (npy(FLOATS.reshape(5, 24)), {}, r"a.npy': found rank 2, .*: reshape, such as"),
    "npy of two channels": (npy(PIXELS[:, None].repeat(2, 1)), {}, r"\(5, 2, 4, 6\), .* with C = 1 or 3 channels"),
    "npy of integers": (npy(PIXELS.astype("int64")), {}, "a.npy': found dtype int64, but images are uint8 .*astype"),
    "npy of text": (npy(np.array(["a"])), {}, "a.npy': found <U1, but data are floats, integers or booleans"),
    "npy of NaN": (npy(NAN), {}, "a.npy': found 1 NaN or infinite of 120 values"),
    "npy of infinities": (npy(np.where(NAN > 0.2, np.inf, FLOATS)), {}, "found .* NaN or infinite of 120 values"),
    "npy of 0..255 floats": (npy(PIXELS.astype("float32")), {}, r"found values from 0 to 119, .* in \[0, 1\]: rescale"),
    "npy below 0": (npy(FLOATS - 0.5), {}, "found values from -0.5 to -0.0333"),
    "npy of binary uint8": (npy(PIXELS % 2), {}, "found uint8 values of 0 and 1 only, .*astype.bool"),
    "npz of float labels": (npz(x=PIXELS, y=LABELS / 2), {"labels": True}, "'y': found dtype float64 .*whole numbers"),
    "npz of labels of rank 2": (npz(x=PIXELS, y=np.ones((5, 5), int)), {"labels": True}, r"\(5, 5\), but labels are"),
    "too few labels": (directory(idx(PIXELS), idx(LABELS[:3])), {"labels": True}, "gz': found 3 labels for 5 images"),
}


ARRAYS = {
    "list of integers": (PIXELS.tolist(), "images: found dtype int64, but images are uint8"),
    "masked array": (np.ma.array(FLOATS, mask=PIXELS > 3), r"a masked array, 116 of its 120 .* at \(0, 0, 4\): leave"),
    "no image": (PIXELS[:0], r"images: found an empty set, shape \(0, 4, 6\)"),
    "no pixel": (np.zeros((2, 1, 0, 4)), r"found an empty set, shape \(2, 1, 0, 4\)"),
}


@pytest.mark.parametrize("make, options, message", MALFORMED.values(), ids=MALFORMED)
def test_malformed_input_is_one_line_that_says_what(tmp_path, make, options, message):
    with pytest.raises(FastvaeError, match=message) as caught:
        datasets.load(make(tmp_path), **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 + len(str(tmp_path))
    is_argument = message.startswith(("name_or_path=", "split=", "labels="))
    assert isinstance(caught.value, ConfigurationError if is_argument else DataError)


@pytest.mark.parametrize("array, message", ARRAYS.values(), ids=ARRAYS)
def test_malformed_arrays(array, message):
    with pytest.raises(DataError, match=message):
        datasets.as_images(array, source="images")


def absent_full_set(monkeypatch, path):
    monkeypatch.setattr(datasets, "_DEBIAN", str(path / "absent"))
    datasets.load("fashion-mnist-full")


def test_full_set_that_is_not_installed(monkeypatch, tmp_path):
    with pytest.raises(DataError, match=f"absent' does not exist: `{INSTALL}`, or take the .*-sample"):
        absent_full_set(monkeypatch, tmp_path)


def test_every_error_is_reached(monkeypatch, tmp_path):
    """Each `raise` of the two modules is the end of one to three of the cases above; others are in other modules."""
    reached = Counter()

    def run(case, *args, **options):
        with pytest.raises(FastvaeError) as caught:
            case(*args, **options)
        end = traceback.extract_tb(caught.value.__traceback__)[-1]
        if os.path.basename(end.filename) != "kinds.py":  # of an argument, see tests/test_public_arguments.py
            reached[os.path.basename(end.filename), end.lineno] += 1

    for number, (make, options, _) in enumerate(MALFORMED.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        run(datasets.load, make(folder), **options)
    for array, _ in ARRAYS.values():
        run(datasets.as_images, array)
    run(absent_full_set, monkeypatch, tmp_path)
    run(datasets.held_out, "fashion-mnist-sample", (1, 4, 4))
    (tmp_path / "deep" / "val" / "dog").mkdir(parents=True)
    Image.fromarray(PIXELS[0]).save(tmp_path / "deep" / "val" / "dog" / "1.png")
    run(datasets.load, tmp_path / "deep")
    (tmp_path / "a.gz").write_bytes(GZIPPED)
    run(formats.read_idx, str(tmp_path / "a.gz"), mapped=True)
    raises = {
        (os.path.basename(module.__file__), node.lineno)
        for module in (datasets, formats)
        for node in ast.walk(ast.parse(pathlib.Path(module.__file__).read_text()))
        if isinstance(node, ast.Raise) and node.exc is not None
    }
    assert raises <= set(reached)
    assert max(count for place, count in reached.items() if place in raises) <= 3


def test_both_splits_are_read_with_the_channels_last(tmp_path):
    images = np.random.default_rng(0).random((4, 3, 5, 1), dtype=np.float32)
    np.savez(tmp_path / "a.npz", x_train=images, x_test=images[:2], y_test=[[0], [1]])
    read = datasets.load(tmp_path / "a.npz", channels_last=True)
    assert np.array_equal(read, images.transpose(0, 3, 1, 2))
    found, labels, split = datasets.held_out(tmp_path / "a.npz", (1, 3, 5), channels_last=True)
    assert np.array_equal(found, read[:2]) and labels.tolist() == [0, 1] and split == "test"


def test_classes_have_the_names_of_their_folders(tmp_path):
    picture = Image.fromarray(np.arange(16, dtype="uint8").reshape(4, 4))
    for split in ("train", "test"):
        for name in ("dog", "cat"):
            (tmp_path / split / name).mkdir(parents=True)
            picture.save(tmp_path / split / name / "1.png")
    assert datasets.class_names(tmp_path) == datasets.class_names(tmp_path / "train") == ["cat", "dog"]
    images, labels = datasets.load(tmp_path, "test", labels=True)
    assert images.shape == (2, 1, 4, 4) and labels.tolist() == [0, 1]
    assert datasets.class_names(tmp_path / "train" / "cat") is None
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 4)))
    assert datasets.class_names(tmp_path / "a.npy") is None
    assert len(datasets.class_names("fashion-mnist")) == 10
