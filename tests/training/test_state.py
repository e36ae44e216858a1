"""Networks with state, batch normalisation and dropout, through `VAE.fit`: seeds, checkpoints, files, evaluation."""

import json
import subprocess
import sys

import numpy as np
import pytest

import fastvae
from fastvae import nn
from fastvae.errors import ConfigurationError, DataError, NonFiniteError
from fastvae.evaluation import elbo
from tests.conftest import ROOT
from tests.elbo.test_updates import User
from tests.on_devices import on_every_device

IMAGES = np.random.default_rng(0).random((40, 1, 4, 4)).astype("float32")


class Net(fastvae.VAE):
    """A convolution, batch normalisation of images and of vectors, and dropout in both halves."""

    def __init__(self, seed=0):
        super().__init__(image_shape=(1, 4, 4), n_latent=2)
        rng = np.random.default_rng(seed)
        self.conv = nn.Conv2D(1, 3, 3, padding="same", bias=None, name="conv", rng=rng)
        self.norm1, self.drop1 = nn.BatchNorm(3, nn.relu, name="norm1"), nn.Dropout(0.3, name="drop1", rng=rng)
        self.out = nn.Linear(48, 4, name="out", rng=rng)
        self.into = nn.Linear(2, 8, bias=None, name="into", rng=rng)
        self.norm2, self.drop2 = nn.BatchNorm(8, nn.relu, name="norm2"), nn.Dropout(0.3, name="drop2", rng=rng)
        self.pixels = nn.Linear(8, 16, nn.sigmoid, name="pixels", rng=rng)

    def encode(self, x):
        latent = self.out(self.drop1(self.norm1(self.conv(x))).flatten(2))
        return latent[:, :2], latent[:, 2:]

    def decode(self, z):
        return self.pixels(self.drop2(self.norm2(self.into(z)))).reshape((z.shape[0], 1, 4, 4))

    def get_params(self):
        layers = (self.conv, self.norm1, self.out, self.into, self.norm2, self.pixels)
        return [param for layer in layers for param in layer.get_params()]


def trained(folder=None, n=6, vae=None, **options):
    vae = Net() if vae is None else vae
    options = {"seed": 1, "batch_size": 8, "progressbar": False, "checkpoint": folder, **options}
    return vae, vae.fit(IMAGES, n=n, learning_rate=1e-2, **options)


def values(vae):
    return [variable.get_value() for variable in [*vae.get_params(), *vae.get_state()]]


def same(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def in_one_go():
    return trained(held_out=IMAGES[:16], held_out_every=2)


@on_every_device
def test_state_is_found_in_the_network_and_a_training_changes_it(in_one_go):
    vae, _ = in_one_go
    names = ["norm1.running_mean", "norm1.running_var", "norm2.running_mean", "norm2.running_var"]
    assert [state.name for state in vae.get_state()] == names
    assert not any(np.isin(state.get_value(), (0, 1)).any() for state in vae.get_state())
    assert not {*names} & {param.name for param in vae.get_params()}


GO_ON = """
import sys
from tests.training.test_state import trained, values
import numpy as np
vae, approx = trained(sys.argv[1], resume=True)
vae.save(sys.argv[1] + "/vae.npz")
np.savez(sys.argv[1] + "/found.npz", hist=approx.hist, **{str(i): v for i, v in enumerate(values(vae))})
"""


def test_a_run_that_goes_on_in_another_process_ends_in_the_same_bits(in_one_go, tmp_path, clean_environ):
    whole, approx = in_one_go
    trained(tmp_path, n=3)
    command = [sys.executable, "-c", GO_ON, str(tmp_path)]
    done = subprocess.run(command, env=clean_environ, cwd=ROOT, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "resuming after step 3" in done.stderr and "not bit for bit" not in done.stderr
    with np.load(tmp_path / "found.npz") as found:
        assert found["hist"].tobytes() == approx.hist.tobytes()
        assert same([found[str(i)] for i in range(len(values(whole)))], values(whole))
    again = Net(seed=5)
    again.load_params(tmp_path / "vae.npz")
    assert same(values(again), values(whole))


@on_every_device
def test_a_run_that_goes_on_in_the_same_process_is_the_same_run(in_one_go, tmp_path, capsys):
    whole, approx = in_one_go
    vae, _ = trained(tmp_path, n=3)
    _, resumed = trained(tmp_path, vae=vae, resume=True)  # its running statistics are not those of a new network
    assert "not bit for bit" not in capsys.readouterr().err
    assert resumed.hist.tobytes() == approx.hist.tobytes() and same(values(vae), values(whole))


@on_every_device
def test_evaluation_of_an_image_does_not_depend_on_the_others(in_one_go):
    vae, approx = in_one_go
    means, covariances = vae.encode_mean(IMAGES), vae.encode_covariance(IMAGES)
    for i in (0, 7):
        np.testing.assert_allclose(vae.encode_mean(IMAGES[i : i + 1]), means[i : i + 1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(vae.encode_covariance(IMAGES[i : i + 1]), covariances[i : i + 1], rtol=1e-5)
        np.testing.assert_allclose(vae.decode_mean(means[i : i + 1]), vae.decode_mean(means)[i : i + 1], rtol=1e-5)
    mean, var = (state.get_value() for state in vae.get_state()[2:])
    h = np.maximum(
        (means @ vae.into.weight.get_value() - mean) / np.sqrt(var + 1e-4) * vae.norm2.gamma.get_value()
        + vae.norm2.beta.get_value(),
        0,
    )
    pixels = 1 / (1 + np.exp(-(h @ vae.pixels.weight.get_value() + vae.pixels.bias.get_value())))
    np.testing.assert_allclose(vae.decode_mean(means).reshape(40, 16), pixels, rtol=1e-4)  # by hand, in evaluation form
    alone = [elbo(vae, IMAGES[:1], n_samples=3, seed=4).nats, elbo(vae, IMAGES[:1].repeat(2, 0), 3, 4).per_image[0]]
    assert np.isfinite(alone).all()
    assert approx.held_out_hist.shape == (3, 2)


@on_every_device
def test_the_held_out_elbo_is_that_of_the_evaluation_form(in_one_go):
    """It is an average of one draw an image, of which importance sampling knows mean and spread."""
    vae, approx = in_one_go
    estimate = elbo(vae, IMAGES[:16], n_samples=200, seed=1)
    of_one_draw = estimate.monte_carlo_error * np.sqrt(200)
    assert abs(approx.held_out_hist[-1, 1] - estimate.nats) < 5 * of_one_draw


def test_a_file_without_state_is_of_an_older_version(in_one_go, tmp_path, caplog):
    vae, _ = in_one_go
    vae.save(tmp_path / "vae.npz")
    with np.load(tmp_path / "vae.npz") as archive:
        entries = dict(archive)
    header = json.loads(str(entries["header"]))
    header["names"] = header["names"][:-4]
    kept = {f"param_{i:04d}": entries[f"param_{i:04d}"] for i in range(len(header["names"]))}
    np.savez(tmp_path / "older.npz", header=np.array(json.dumps(header)), **kept)
    older = Net(seed=5)
    older.load_params(tmp_path / "older.npz")
    assert same(values(older)[:-4], values(vae)[:-4]) and not np.any(older.norm1.running_mean.get_value())
    assert "older.npz holds no running statistics" in caplog.text
    vae.norm1.running_var.set_value(np.full(3, np.nan, "float32"))
    with pytest.raises(DataError, match="norm1.running_var"):
        vae.save(tmp_path / "nan.npz")
    vae.load_params(tmp_path / "vae.npz")


def test_iwae_takes_a_pass_for_each_sample_and_no_other_way(caplog):
    vae, approx = trained(n=3, n_samples=3, objective="iwae", estimator="dreg")
    assert np.isfinite(approx.hist).all() and "copied for each of the 3 samples" in caplog.text
    with pytest.raises(ConfigurationError, match=r"^fold=True: the 3 samples would share .*; leave fold out"):
        trained(n=1, n_samples=3, fold=True)


def test_a_minibatch_of_one_vector_has_no_variance():
    with pytest.raises(NonFiniteError, match="the first step makes 'norm2.running_var' .* minibatches of at least 2$"):
        trained(n=2, batch_size=1)


@pytest.mark.parametrize("way", ["default_update", "more_updates"])
def test_a_users_model_in_parts_is_the_one_in_one_go(way, tmp_path, capsys):
    def run(n, user, **options):
        approx = fastvae.fit(
            n, model=user.model, local_rv=user.local_rv, random_seed=1, obj_optimizer=fastvae.adam(learning_rate=0.01),
            more_obj_params=list(user.p.values()), more_updates=user.more_updates or None,
            more_replacements={user.xs: fastvae.Minibatch(user.x.repeat(3, axis=0), len(user.x), seed=1)},
            progressbar=False, **options,
        )  # fmt: skip
        return approx.hist, [v.get_value() for v in [*user.p.values(), *user.running]]

    hist, expected = run(4, User(way))
    user = User(way)
    run(2, user, checkpoint=tmp_path)
    for again in (user, User(way)):
        found, values_after = run(4, again, checkpoint=tmp_path, resume=True)
        assert found.tobytes() == hist.tobytes() and same(values_after, expected)
    assert "not bit for bit" not in capsys.readouterr().err
