import numpy as np
import pytest

import fastvae
from fastvae import evaluation
from fastvae.errors import ConfigurationError, DataError
from fastvae.evaluation import active_units, reconstruction_error
from tests.on_devices import on_every_device


class Affine:
    """A VAE that reconstructs x as scale * x + shift, and notes the batches that it sees."""

    def __init__(self, scale=1.0, shift=0.0):
        self.scale, self.shift, self.batches = np.float32(scale), np.float32(shift), []

    def encode_mean(self, images):
        self.shape = images.shape[1:]
        self.batches.append(len(images))
        assert images.dtype == np.float32
        return images.reshape(len(images), -1)

    def decode_mean(self, z):
        return (self.scale * z + self.shift).reshape(-1, *self.shape)


IMAGES = np.random.default_rng(0).random((23, 3, 4, 5), dtype="float32")


def test_closed_form_of_a_constant_shift():
    error = reconstruction_error(Affine(shift=0.25), IMAGES)
    assert error.mse == pytest.approx(0.0625, rel=1e-6)
    assert error.mse_of_mean_image == pytest.approx(IMAGES.astype("float64").var(axis=0).mean(), rel=1e-12)
    assert error.ratio == error.mse / error.mse_of_mean_image


def test_closed_form_of_a_scale():
    error = reconstruction_error(Affine(scale=0.5), IMAGES)
    assert error.mse == pytest.approx(0.25 * np.square(IMAGES.astype("float64")).mean(), rel=1e-6)


@on_every_device
def test_the_error_of_a_model_is_that_of_its_weights():
    """Both networks by numpy in float64."""
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), n_latent=2, hidden=5, seed=1)
    images = np.random.default_rng(1).random((11, 1, 4, 4), dtype="float32")
    w = [param.get_value().astype("float64") for param in vae.get_params()]
    latent = (np.maximum(images.reshape(11, 16) @ w[0] + w[1], 0) @ w[2] + w[3])[:, :2]
    means = 1 / (1 + np.exp(-(np.maximum(latent @ w[4] + w[5], 0) @ w[6] + w[7])))
    expected = np.mean((means - images.reshape(11, 16)) ** 2)
    assert reconstruction_error(vae, images, 4).mse == pytest.approx(expected, rel=1e-5)


def test_the_mean_image_itself_has_ratio_1():
    class Mean:
        encode_mean = staticmethod(lambda images: np.zeros((len(images), 2), "float32"))
        decode_mean = staticmethod(lambda z: np.tile(IMAGES.mean(axis=0), (len(z), 1, 1, 1)))

    assert reconstruction_error(Mean(), IMAGES).ratio == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("batch_size, batches", [(10, [10, 10, 3]), (23, [23]), (500, [23]), (np.int64(12), [12, 11])])
def test_batches_cover_every_image_once_and_do_not_change_the_result(batch_size, batches):
    vae = Affine(scale=0.9)
    error = reconstruction_error(vae, IMAGES, batch_size)
    assert vae.batches == batches
    assert error == pytest.approx(reconstruction_error(Affine(scale=0.9), IMAGES), rel=1e-12)


def test_accumulates_in_float64():
    """A float32 accumulator, batch by batch, would stop growing or drift by more than 1e-6."""
    images = np.zeros((4096, 1, 32, 32), "float32")
    images[::2] = 1
    error = reconstruction_error(Affine(shift=0.1), images, batch_size=1)
    shifted = np.float32([0, 1]) + np.float32(0.1)
    assert error.mse == pytest.approx(np.mean((shifted - np.float64([0, 1])) ** 2), rel=1e-9)
    assert error.mse_of_mean_image == 0.25


def test_nan_is_not_hidden():
    assert np.isnan(reconstruction_error(Affine(shift=np.nan), IMAGES).ratio)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "10", True, None])
def test_batch_size_out_of_its_domain(batch_size):
    with pytest.raises(ConfigurationError, match="batch_size=.* must be an integer of at least 1"):
        reconstruction_error(Affine(), IMAGES, batch_size)


def test_images_out_of_their_domain():
    with pytest.raises(DataError, match="images: found values from 0 to 255"):
        reconstruction_error(Affine(), np.array([0, 255.0]).reshape(2, 1, 1, 1))
    with pytest.raises(DataError, match="images: found 2 times the same image: give at least two different"):
        reconstruction_error(Affine(), np.zeros((2, 1, 3, 3)))


def test_a_model_for_another_shape():
    class Cropping(Affine):
        def decode_mean(self, z):
            return super().decode_mean(z)[..., 1:]

    with pytest.raises(DataError, match=r"\(23, 3, 4, 5\) as \(23, 3, 4, 4\): evaluate it on images of the shape"):
        reconstruction_error(Cropping(), IMAGES)


def test_active_units_are_those_whose_mean_varies():
    class TwoOfThree:
        encode_mean = staticmethod(lambda images: images.reshape(len(images), -1)[:, :3] * np.float32([1, 0.3, 2]))

    images = np.zeros((4, 1, 2, 2), "float32")
    images[::2] = 0.5
    found = active_units(TwoOfThree(), images)
    np.testing.assert_allclose(found.variances, np.float64([1, 0.3, 2]) ** 2 / 16, rtol=1e-6)
    assert found.count == 2 and active_units(TwoOfThree(), images, threshold=0.1).count == 1
    with pytest.raises(ConfigurationError, match="threshold=-1 must be a finite number of at least 0"):
        active_units(TwoOfThree(), images, threshold=-1)


def test_bits_per_dimension():
    estimate = evaluation.Estimate(-10 * np.log(2), np.log(2), 0.0, np.zeros(1))
    assert evaluation.bits_per_dimension(estimate, (1, 5, 1)) == pytest.approx((2, 0.2))


def test_the_order_that_theory_demands_on_real_images():
    """ELBO <= IWAE-5 <= IWAE-50 <= log p(x), each by more than the errors of Monte Carlo, on one set of images."""
    images = fastvae.datasets.load("fashion-mnist-sample")
    vae = fastvae.MLPVAE(n_latent=10, hidden=32, likelihood="bernoulli", seed=1)
    vae.fit(images, n=1500, batch_size=64, learning_rate=2e-3, seed=1, progressbar=False)
    test = fastvae.datasets.load("fashion-mnist-sample", split="test")[:100]
    bounds = [
        evaluation.elbo(vae, test, n_samples=50, seed=1),
        evaluation.iwae_bound(vae, test, k=5, n_samples=20, seed=1),
        evaluation.iwae_bound(vae, test, k=50, n_samples=4, seed=1),
        evaluation.log_likelihood(vae, test, n_samples=1000, seed=1),
    ]
    for bound in bounds:
        print(f"{bound.nats:.2f} +- {bound.standard_error:.2f} (images) +- {bound.monte_carlo_error:.3f} (Monte Carlo)")
    for lower, upper in zip(bounds, bounds[1:]):
        assert lower.nats + 2 * np.hypot(lower.monte_carlo_error, upper.monte_carlo_error) < upper.nats
