import numpy as np
import pytest

import fastvae
from fastvae.errors import DataError
from tests.distributions.cases import CASES, LEVELS
from tests.on_devices import on_every_device


@on_every_device
@pytest.mark.parametrize("scale", [1, 30, 1000])
@pytest.mark.parametrize("name", ["categorical", "logistic", "mixture", "beta-binomial"])
def test_the_256_levels_have_all_the_mass_and_the_mean_is_theirs(name, scale, functions):
    rng = np.random.default_rng(scale)
    output = rng.normal(0, scale, size=(1, CASES[name][0].n_outputs, 1, 1)).astype("float32").repeat(256, axis=0)
    nats, gradient, mean = functions(name)(LEVELS.reshape(256, 1, 1, 1), output)
    mass = np.exp(nats.ravel().astype(float))
    assert mass.sum() == pytest.approx(1, abs=2e-5)
    tolerance = 1 / 510 if name in ("logistic", "mixture") else 2e-5
    assert mean[0, 0, 0, 0] == pytest.approx((mass * LEVELS).sum(), abs=tolerance)
    assert np.isfinite(nats).all() and np.isfinite(gradient).all()


def test_values_between_the_levels_are_refused(images):
    vae = fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=2, likelihood="categorical")
    with pytest.raises(DataError, match="MLPVAE.fit: .*'categorical' is of the 256 levels.* give uint8 images"):
        vae.fit(images * np.float32(0.99), n=1)


def test_rows_on_disk_between_the_levels_are_refused_by_number(tmp_path):
    array = np.zeros((5, 4, 4), "float32")
    array[3, 0, 0] = 0.3
    np.save(tmp_path / "floats.npy", array)
    rows = fastvae.MLPVAE(image_shape=(1, 4, 4), likelihood="categorical").training_images(
        fastvae.on_disk(tmp_path / "floats.npy"), "fit"
    )
    assert not rows[:3].any()
    with pytest.raises(DataError, match="floats.npy', row 3: .*'categorical' .* give uint8 images"):
        rows[np.array([0, 3, 4])]
