"""An exported file is enough to rebuild the model elsewhere: in plain numpy here, and in PyTorch where that is."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import theano

from fastvae import MLPVAE, VAE, ConvVAE, likelihoods, nn
from fastvae.errors import ConfigurationError, DataError
from tests.conftest import required_device

PROGRAM = pathlib.Path(__file__).with_name("torch_decoder.py")
SMALL = dict(image_shape=(1, 8, 8), n_latent=3, hidden=5, seed=1)
ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
}


def models():
    """Models with every kind of layer of a decoder, their parameters and statistics far from the initial ones."""
    made = [
        MLPVAE(activation="elu", likelihood="bernoulli", **SMALL),
        ConvVAE(filters=2, strides=(2, 1, 1), padding=(1, 0, 1), kernels=(4, 1, 3), **SMALL),
        ConvVAE(filters=4, activation="elu", normalization="batch", pooling="max", **SMALL),
    ]
    rng = np.random.default_rng(0)
    for vae in made:
        for variable in [*vae.get_params(), *vae.get_state()]:
            value = variable.get_value()
            lowest = 0 if variable.name.endswith("running_var") else -0.5
            variable.set_value((value + rng.uniform(lowest, 0.5, value.shape)).astype("float32"))
    return made


def decoded(arrays, z):
    """The decoder in float64 numpy, by the documented layouts."""
    config, x = json.loads(str(arrays["config"])), np.asarray(z, dtype=np.float64)
    for layer in config["decoder"]:
        own = {key: arrays[f"{layer['name']}.{key}"].astype(float) for key in ("weight", "bias", "gamma", "beta")
               if f"{layer['name']}.{key}" in arrays}  # fmt: skip
        if layer["kind"] == "Linear":
            x = x @ own["weight"]
        elif layer["kind"] == "Reshape":
            x = x.reshape(-1, *layer["shape"])
        elif layer["kind"] == "ConvTranspose2D":
            x = conv_transpose(x, own["weight"], layer["stride"], layer["padding"])
        elif layer["kind"] == "Upsample2D":
            x = x.repeat(layer["factor"][0], axis=2).repeat(layer["factor"][1], axis=3)
        else:
            assert layer["kind"] == "BatchNorm"
            mean, var = (arrays[f"{layer['name']}.running_{what}"].astype(float) for what in ("mean", "var"))
            x = np.moveaxis((np.moveaxis(x, 1, -1) - mean) / np.sqrt(var + layer["epsilon"]) * own["gamma"], -1, 1)
            own["bias"] = own["beta"]
        x = np.moveaxis(np.moveaxis(x, 1, -1) + own.get("bias", 0), -1, 1)
        x = ACTIVATIONS[layer["activation"]](x)
        assert x.shape[1:] == tuple(layer["output_shape"])
    return ACTIVATIONS["sigmoid"](x) if config["likelihood"]["name"] == "bernoulli" else x


def conv_transpose(x, weight, stride, padding):
    """Every input adds its multiple of the kernel to the output."""
    (_, n_out, *kernel), (n, _, *size) = weight.shape, x.shape
    out = np.zeros((n, n_out, *((k - 1) * s + w for k, s, w in zip(size, stride, kernel))))
    for i in range(size[0]):
        for j in range(size[1]):
            rows, columns = (slice(at * s, at * s + w) for at, s, w in zip((i, j), stride, kernel))
            out[:, :, rows, columns] += np.tensordot(x[:, :, i, j], weight, 1)
    return out[:, :, padding[0] : out.shape[2] - padding[0], padding[1] : out.shape[3] - padding[1]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Latents, and for each model the file that it wrote and the images that it decodes."""
    folder, z = tmp_path_factory.mktemp("exported"), np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    files = []
    for i, vae in enumerate(models()):
        vae.export(folder / f"{i}.npz")
        files.append((folder / f"{i}.npz", vae.decode_mean(z)))
    return z, files


def test_the_decoder_is_rebuilt_from_the_documented_layouts(exported):
    z, files = exported
    for path, images in files:
        with np.load(path, allow_pickle=False) as arrays:
            assert np.allclose(decoded(dict(arrays), z), images, atol=2e-6)
            assert images.std() > 0.01


def test_pytorch_decodes_the_same_images(exported, tmp_path):
    python = os.environ.get("TORCH_PYTHON")
    required_device([] if python else ["TORCH_PYTHON does not name a Python that has PyTorch"])
    z, files = exported
    np.save(tmp_path / "z.npy", z)
    arguments = [part for i, (path, _) in enumerate(files) for part in (path, tmp_path / f"{i}.npy")]
    subprocess.run([python, PROGRAM, tmp_path / "z.npy", *arguments], check=True, timeout=120)
    for i, (_, images) in enumerate(files):
        assert np.allclose(np.load(tmp_path / f"{i}.npy"), images, atol=2e-6)


def test_it_holds_all_parameters_and_what_the_model_is():
    vae = MLPVAE(posterior="full-covariance", likelihood={"name": "normal", "sd": 0.2}, **SMALL)
    arrays = exporting_of(vae)
    assert {*arrays} == {"config", *(p.name for p in vae.get_params())}
    config = json.loads(str(arrays["config"]))
    assert (config["format"], config["model"], config["image_shape"], config["n_latent"]) == (1, "MLPVAE", [1, 8, 8], 3)
    assert config["posterior"] == "full-covariance" and config["likelihood"]["sd"] == 0.2
    assert [layer["kind"] for layer in config["encoder"]] == ["Flatten", "Linear", "Linear"]
    assert all((arrays[p.name] == p.get_value()).all() for p in vae.get_params())


def exporting_of(vae):
    from fastvae.models import exporting

    return exporting.contents(vae)


class Users(VAE):
    """A model of no known layers, with parameters of given names."""

    def __init__(self, *names):
        super().__init__(image_shape=(1, 2, 2), n_latent=1)
        self.params = [theano.shared(np.ones(4, "float32"), name=name) for name in names]

    def encode(self, x):
        return x.flatten(2)[:, :1] * self.params[0][0], x.flatten(2)[:, 1:2]

    def decode(self, z):
        return nn.sigmoid(z * self.params[-1]).reshape((-1, 1, 2, 2))

    def get_params(self):
        return self.params


def test_a_users_model_is_its_arrays(tmp_path):
    Users("a", "b").export(tmp_path / "u.npz")
    with np.load(tmp_path / "u.npz") as arrays:
        assert {*arrays} == {"config", "a", "b"} and "decoder" not in json.loads(str(arrays["config"]))


@pytest.mark.parametrize("names, told", [((None,), "a parameter is named None"), (("a", "a"), "2 .* named 'a'")])
def test_parameters_that_cannot_be_told_apart(names, told, tmp_path):
    with pytest.raises(ConfigurationError, match=rf"^Users.export: {told}: .* give each layer a name of its own$"):
        Users(*names).export(tmp_path / "u.npz")


class Own(likelihoods.Likelihood):
    name = "own"

    def __init__(self, sd):
        super().__init__(sd=sd)

    def mean(self, output):
        return output


@pytest.mark.parametrize("write", ["save", "export"])
def test_options_of_a_likelihood_are_what_json_can_hold(write, tmp_path):
    def vae(option):
        return MLPVAE(image_shape=(1, 4, 4), hidden=8, likelihood=Own(option))

    getattr(vae(np.float32(0.5)), write)(tmp_path / "a.npz")
    with pytest.raises(ConfigurationError, match="the model's configuration cannot be kept .*ndarray.*: options of"):
        getattr(vae(np.ones(3)), write)(tmp_path / "b.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_nothing_is_written_that_is_of_no_use(tmp_path):
    vae = Users("a")
    vae.params[0].set_value(np.full(4, np.nan, "float32"))
    with pytest.raises(DataError, match="parameter a holds NaN"):
        vae.export(tmp_path / "u.npz")
    with pytest.raises(DataError, match=r"u.npz: cannot be written \(No such file or directory\)"):
        Users("a").export(tmp_path / "none" / "u.npz")
    assert not [*tmp_path.iterdir()]
