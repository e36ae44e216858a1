"""Images as PNG text."""

import base64
import io

import numpy as np
from PIL import Image

from fastvae.report.images import as_png, fitting, sheet


def unpacked(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_a_smaller_image_is_the_average():
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    smaller = fitting(images, room=images.size // 4)
    assert np.allclose(smaller, images.reshape(2, 3, 8, 2, 8, 2).mean(axis=(3, 5)), atol=1e-6)
    assert fitting(images, room=images.size) is images


def test_values_outside_are_cut_and_colours_kept():
    image = np.array([[[-1, 0.5]], [[2, 0.25]], [[0, 1]]], "float32")
    assert unpacked(as_png(image)).tolist() == [[[0, 255, 0], [128, 64, 255]]]


def test_a_sheet_is_filled_row_by_row():
    images = np.arange(6, dtype="float32").reshape(6, 1, 1, 1) / 255
    assert unpacked(sheet(images, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
