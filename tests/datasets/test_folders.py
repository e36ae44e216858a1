"""Folders of images: which files, which labels, and no image larger than what was asked for."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fastvae import datasets, on_disk
from fastvae.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4)).astype("uint8")


def write(folder, images, ending=".png"):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}{ending}", format="png")


def announced(path, width, height):
    """A PNG that announces a size and holds nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def test_a_flat_folder_is_training_images(tmp_path):
    write(tmp_path / "a", IMAGES, ".PNG")
    (tmp_path / "a" / ".hidden.png").write_text("no image")
    np.testing.assert_array_equal(datasets.load(tmp_path / "a")[:, 0], IMAGES / np.float32(255))
    assert not datasets.holds(tmp_path / "a", labels=True) and not datasets.holds(tmp_path / "a", "test")
    assert on_disk(tmp_path / "a").labels is None


def test_folders_of_a_folder_are_classes(tmp_path):
    write(tmp_path / "a" / "dog", IMAGES[:2])
    write(tmp_path / "a" / "cat", IMAGES[2:])
    (tmp_path / "a" / "notes").mkdir()
    images, labels = datasets.load(tmp_path / "a", labels=True)
    np.testing.assert_array_equal(images[:, 0], IMAGES[[2, 3, 4, 5, 0, 1]] / np.float32(255))
    assert labels.tolist() == [0, 0, 0, 0, 1, 1]
    rows = on_disk(tmp_path / "a")
    assert rows.classes == ["cat", "dog"] and rows.labels.tolist() == labels.tolist() and rows.names[4] == "dog/0.png"
    np.testing.assert_array_equal(rows[np.array([5, 0])][:, 0], IMAGES[[1, 2]])


def test_train_and_test_are_splits(tmp_path):
    write(tmp_path / "a" / "train" / "x", IMAGES[:4])
    write(tmp_path / "a" / "test" / "x", IMAGES[4:])
    assert len(datasets.load(tmp_path / "a")) == 4 and len(datasets.load(tmp_path / "a", "test", labels=True)[1]) == 2
    with pytest.raises(DataError, match="holds the splits train and test: give the path of one"):
        on_disk(tmp_path / "a")


def test_splits_of_other_names_are_told(tmp_path):
    write(tmp_path / "a" / "train" / "x", IMAGES[:4])
    write(tmp_path / "a" / "val" / "x", IMAGES[4:])
    with pytest.raises(DataError, match="images two folders down, as in 'train': .* call the folders of its splits"):
        datasets.load(tmp_path / "a")
    with pytest.raises(DataError, match="images two folders down, as in 'train': give the path of that one$"):
        on_disk(tmp_path / "a")


def test_images_beside_classes_are_refused(tmp_path):
    write(tmp_path / "a", IMAGES[:2])
    write(tmp_path / "a" / "more", IMAGES[:2])
    with pytest.raises(DataError, match="holds images, such as '0.png', beside folders of images, such as 'more'"):
        datasets.load(tmp_path / "a")


def test_palettes_and_two_levels_are_read_as_their_colours(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    colours = Image.fromarray(np.repeat(IMAGES[0][..., np.newaxis], 3, axis=2)).quantize(8)
    colours.save(tmp_path / "a" / "0.gif")
    colours.save(tmp_path / "a" / "1.png")
    two = Image.fromarray(IMAGES[0] > 127)
    two.save(tmp_path / "b" / "0.png")
    expected = np.asarray(colours.convert("RGB")).transpose(2, 0, 1) / np.float32(255)
    assert colours.mode == "P" and two.mode == "1"
    np.testing.assert_array_equal(datasets.load(tmp_path / "a"), [expected, expected])
    np.testing.assert_array_equal(datasets.load(tmp_path / "b")[0, 0], IMAGES[0] > 127)
    colours.save(tmp_path / "a" / "2.png", transparency=0)
    with pytest.raises(DataError, match=r"2.png', row 2: found an image of mode P with transparency.*convert\('RGB'\)"):
        datasets.load(tmp_path / "a")


def test_an_image_of_another_size_is_not_decoded(tmp_path, monkeypatch):
    write(tmp_path / "a", IMAGES[:2])
    announced(tmp_path / "a" / "1.png", 9_000, 9_000)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    rows = on_disk(tmp_path / "a")
    with pytest.raises(DataError, match=r"1.png', row 1: found \(9000, 9000\), the first image is \(5, 4\)"):
        rows[np.array([1])]


def test_a_huge_image_is_refused_by_its_header(tmp_path):
    (tmp_path / "a").mkdir()
    announced(tmp_path / "a" / "0.png", 13_000, 13_000)
    with pytest.raises(DataError, match=r"0.png', row 0: found 13,000 x 13,000 pixels, at most 89,478,485 are read"):
        datasets.load(tmp_path / "a")
