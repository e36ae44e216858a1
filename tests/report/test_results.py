"""What a report shows of a model: which latents, how large the grids are, and that they fit."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from fastvae.report.results import STEPS, results_of
from tests.report.conftest import Ramps


def unpacked(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))) / 255


def test_a_plane_holds_the_decoded_images_from_its_upper_left_corner():
    model = Ramps()
    found = results_of(model, model.images())
    (plane,) = found["planes"]
    side, extent = plane["columns"], found["extent"]
    assert (plane["axes"], plane["rows"], side, plane["tile"]) == ([0, 1], 33, 33, [1, 8, 8]) and extent == 3
    sheet = unpacked(plane["sheet"])
    for row, column in [(0, 0), (16, 16), (5, 30)]:
        z = [[-extent + 2 * extent * column / (side - 1), extent - 2 * extent * row / (side - 1)]]
        tile = sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert np.abs(tile - model.decode_mean(np.array(z))[0, 0]).max() < 0.0021


def test_the_most_active_of_many_latents_are_chosen():
    model = Ramps(n_latent=20)
    still = [0, 2, 4, 6]
    model.encode_mean = lambda images: (
        np.delete(Ramps.encode_mean(model, images), [], axis=1) * ~np.isin(np.arange(20), still)
    )
    found = results_of(model, model.images(), labels=np.arange(60))
    assert found["active"] == 16 and not {*found["axes"]} & {*still} and len(found["axes"]) == 5
    assert len(found["planes"]) == 10 and [one["axis"] for one in found["traversals"]] == [
        i for i in range(20) if i not in still
    ]
    strip = unpacked(found["traversals"][0]["sheet"])
    z = np.zeros((1, 20))
    z[0, 1] = -found["extent"]
    assert strip.shape == (8, 8 * STEPS) and np.abs(strip[:, :8] - model.decode_mean(z)[0, 0]).max() < 0.0021
    assert found["labels"] == list(range(60)) and len(found["means"]) == 5


@pytest.mark.parametrize("n_latent", [1, 2, 6])
def test_large_images_are_made_smaller_until_they_fit(n_latent):
    model = Ramps(n_latent, channels=3, size=96)
    found = results_of(model, np.random.default_rng(1).random((12, 3, 96, 96)), room=400_000)
    pairs = [address for pair in found["reconstructions"] for address in pair]
    sheets = [one["sheet"] for one in [*found["planes"], *found["traversals"]]]
    assert sum(unpacked(address).size for address in [*pairs, *sheets]) <= 400_000
    assert found["planes"][0]["columns"] >= 5


def test_points_far_out_are_within_the_plane():
    model = Ramps()
    model.encode_mean = lambda images: Ramps.encode_mean(model, images) * 10
    assert results_of(model, model.images())["extent"] == 25
