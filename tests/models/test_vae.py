import numpy as np
import pytest
import scipy.stats
import theano

import fastvae
from fastvae import nn
from fastvae.errors import ConfigurationError, DataError
from fastvae.models import MLPVAE
from fastvae.models import images as images_module
from fastvae.models import vae as vae_module
from tests.on_devices import on_every_device


class LinearVAE(fastvae.VAE):
    """A user's own model."""

    def __init__(self, n_latent=2, seed=0):
        super().__init__(image_shape=(1, 2, 3), n_latent=n_latent)
        rng = np.random.default_rng(seed)
        self.into = nn.Linear(6, 2 * n_latent, bias=nn.normal(1), name="into", rng=rng)
        self.out = nn.Linear(n_latent, 6, bias=nn.normal(1), name="out", rng=rng)

    def encode(self, x):
        latent = self.into(x.flatten(2))
        return latent[:, : self.n_latent], latent[:, self.n_latent :]

    def decode(self, z):
        return self.out(z).reshape((z.shape[0], 1, 2, 3))

    def get_params(self):
        return self.into.get_params() + self.out.get_params()


@pytest.fixture(scope="module")
def model():
    return LinearVAE()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((7, 1, 2, 3), dtype=np.float32)


def values(model):
    return [p.get_value() for p in model.get_params()]


def same(one, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(values(one), values(other), strict=True))


@on_every_device
def test_numpy_side_matches_numpy(model, images):
    weight, bias, out_weight, out_bias = values(model)
    mean = (images.reshape(7, 6).astype(float) @ weight + bias)[:, :2]
    decoded = (mean @ out_weight + out_bias).reshape(7, 1, 2, 3)
    for actual, expected in [
        (model.encode_mean(images), mean),
        (model.decode_mean(mean), decoded),
        (model.reconstruct(images), decoded),
    ]:
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@on_every_device
def test_chunks_change_nothing(model, monkeypatch):
    images = np.random.default_rng(2).random((11, 1, 2, 3), dtype=np.float32)
    whole = model.reconstruct(images)
    monkeypatch.setattr(images_module, "CHUNK", 4)
    calls = []
    monkeypatch.setattr(model, "_decode_mean", lambda z, decode=model._decode_mean: calls.append(len(z)) or decode(z))
    assert np.allclose(model.reconstruct(images), whole, rtol=1e-6) and calls == [4, 4, 3]


def test_functions_are_compiled_once_and_see_new_parameters(images, monkeypatch):
    model = LinearVAE()
    first = model.encode_mean(images)
    monkeypatch.setattr(theano, "function", None)
    model.into.bias.set_value(model.into.bias.get_value() + 1)
    assert np.allclose(model.encode_mean(images), first + 1, atol=1e-6)


@on_every_device
def test_samples_are_decoded_prior_draws(model):
    assert np.array_equal(model.sample(3, seed=1), model.sample(3, seed=1))
    assert not np.array_equal(model.sample(3), model.sample(3))
    weight, bias = values(model)[2:]
    z, *_ = np.linalg.lstsq(weight.T, (model.sample(2000, seed=1).reshape(2000, 6) - bias).T, rcond=None)
    assert scipy.stats.kstest(z.ravel(), "norm").pvalue > 0.001 and abs(np.corrcoef(z)[0, 1]) < 0.1


@pytest.mark.parametrize(
    "images, message",
    [
        (np.eye(6, dtype="uint8").reshape(6, 1, 2, 3), "found uint8 values of 0 and 1 only"),
        (np.zeros((3, 1, 3, 2), "float32"), r"found images of float32 \(3, 1, 3, 2\), the model takes \(N, 1, 2, 3\)"),
        (np.zeros((0, 1, 2, 3), "float32"), "found an empty set"),
        (np.float32(0), "found a single number"),
        (np.full((3, 1, 2, 3), np.nan, "float32"), "found 18 NaN or infinite of 18 values"),
        (np.full((3, 1, 2, 3), 1.5), "found values from 1.5 to 1.5"),
        ([["a"]], "found <U1"),
    ],
)
def test_images_are_checked(model, images, message):
    with pytest.raises(DataError, match=f"LinearVAE: images: {message}"):
        model.encode_mean(images)


@pytest.mark.parametrize("z", [np.zeros((3, 3)), np.zeros(2), np.zeros((3, 2), int), np.full((1, 2), np.nan)])
def test_latents_are_checked(model, z):
    with pytest.raises(DataError, match="LinearVAE: latents"):
        model.decode_mean(z)


def test_sample_checks_its_arguments(model):
    with pytest.raises(ConfigurationError, match="LinearVAE.sample: n=0 must be"):
        model.sample(0)
    with pytest.raises(ConfigurationError, match="LinearVAE.sample: seed=-1 must be"):
        model.sample(1, seed=-1)


def test_a_subclass_has_to_provide_the_protocol():
    class Half(fastvae.VAE):
        def encode(self, x):
            return x, x

    with pytest.raises(TypeError, match="abstract"):
        Half(image_shape=(1, 2, 3), n_latent=2)


@on_every_device
def test_parameters_of_a_users_model_round_trip(model, tmp_path):
    model.save(tmp_path / "own.npz")
    other = LinearVAE(seed=5)
    assert not same(model, other)
    other.load_params(tmp_path / "own.npz")
    assert same(model, other)


def test_load_names_the_way_for_a_users_model(model, tmp_path):
    model.save(tmp_path / "own.npz")
    with pytest.raises(DataError, match=r"holds a .*LinearVAE, which fastvae.load cannot build .* load_params\(path\)"):
        fastvae.load(tmp_path / "own.npz")


class Renamed(LinearVAE):
    def get_params(self):
        return self.out.get_params() + self.into.get_params()


def test_parameters_of_another_class_shape_or_order_are_refused_and_change_nothing(model, tmp_path, monkeypatch):
    path = tmp_path / "own.npz"
    model.save(path)
    for other, message in [
        (fastvae.MLPVAE(image_shape=(1, 2, 3)), "holds the parameters of a .*LinearVAE, not of a fastvae.models.MLP"),
        (LinearVAE(n_latent=3), r"parameter 0 \(into.weight\) is float32 \(6, 4\), the model's is float32 \(6, 6\)"),
    ]:
        before = values(other)
        with pytest.raises(DataError, match=message):
            other.load_params(path)
        assert all(np.array_equal(a, b) for a, b in zip(before, values(other)))
    monkeypatch.setattr(vae_module, "full_name", lambda cls: "train.Renamed")
    model.save(path)
    with pytest.raises(DataError, match=r"lacks parameters \['0 \(out.weight\)'.* has unknown ones \['0 \(into.weight"):
        Renamed().load_params(path)


def test_a_class_of_a_script_is_the_same_when_the_script_is_imported(model, tmp_path, monkeypatch):
    monkeypatch.setattr(vae_module, "full_name", lambda cls: "__main__.LinearVAE")
    model.save(tmp_path / "own.npz")
    other = LinearVAE()
    other.load_params(tmp_path / "own.npz")
    assert all(np.array_equal(a, b) for a, b in zip(values(model), values(other)))


def test_a_diverged_model_is_not_saved(tmp_path):
    model = LinearVAE()
    model.out.bias.set_value(np.full(6, np.nan, "float32"))
    with pytest.raises(DataError, match=r"parameter 3 \(out.bias\) holds NaN or infinity"):
        model.save(tmp_path / "own.npz")
    assert not (tmp_path / "own.npz").exists()


@on_every_device
def test_bytes_train_as_floats_do():
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 2, 3)).astype("uint8")
    first, second = (
        MLPVAE(image_shape=(1, 2, 3), hidden=4, seed=0).fit(data, n=5, batch_size=4, seed=1, progressbar=False).hist
        for data in (images, images / np.float32(255))
    )
    np.testing.assert_allclose(first, second, rtol=1e-4)


def test_images_of_another_shape_are_not_trained_on(model):
    with pytest.raises(DataError, match=r"found images of float32 \(3, 1, 3, 2\), the model takes .N, 1, 2, 3."):
        model.fit(np.zeros((3, 1, 3, 2), "float32"), n=1)


@on_every_device
def test_a_minibatch_of_one_image_trains():
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
    approx = vae.fit(np.zeros((5, 1, 4, 4), "float32"), n=2, batch_size=1, seed=1, progressbar=False)
    assert np.isfinite(approx.hist).all() and len(approx.hist) == 2
