import numpy as np
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae import likelihoods
from fastvae.errors import ConfigurationError
from fastvae.likelihoods import Bernoulli, DiscretizedLogistic, Normal


def test_a_parameter_file_from_before_likelihoods_loads(tmp_path):
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=3, seed=1)
    vae.config = {name: vae.config[name] for name in ("image_shape", "n_latent", "hidden")}
    vae.save(tmp_path / "old.npz")
    old = fastvae.load(tmp_path / "old.npz")
    assert repr(old.likelihood) == "Normal(sd=0.1, learn_sd=False)" and old.posterior.name == "mean-field"


class Bare(fastvae.VAE):
    """A user's model that does not know of likelihoods."""

    def __init__(self, likelihood):
        super().__init__((1, 2, 2), 1, likelihood=likelihood)
        self.weight = theano.shared(np.ones((1, 4), "float32"), "weight")

    def encode(self, x):
        return x.flatten(2)[:, :1], x.flatten(2)[:, 1:2]

    def decode(self, z):
        return tt.dot(z, self.weight).reshape((-1, 1, 2, 2))

    def get_params(self):
        return [self.weight]


def test_what_a_users_model_has_to_add_is_said():
    images = np.zeros((3, 1, 2, 2), "float32")
    with pytest.raises(ConfigurationError, match=r"Bare: the likelihood Bernoulli\(.*provide decode_output\(z\)"):
        Bare("bernoulli").fit(images, n=1)
    with pytest.raises(ConfigurationError, match=r"get_params lacks \['likelihood.log_sd'\]: add self.likelihood.get"):
        Bare(Normal(learn_sd=True)).fit(images, n=1)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Normal(sd=0), "Normal: sd=0 must be a finite number above 0"),
        (lambda: Normal(sd=float("nan")), "sd=nan"),
        (lambda: Normal(sd="a"), "sd='a'"),
        (lambda: Normal(learn_sd=1), "learn_sd=1 must be True or False"),
        (lambda: Bernoulli("often"), "binarize='often' must be one of 'dynamic', 'static'"),
        (lambda: DiscretizedLogistic(0), "components=0 must be an integer of at least 1"),
        (lambda: fastvae.MLPVAE(likelihood="poisson"), "MLPVAE: likelihood='poisson' must be one of 'normal', "),
        (lambda: fastvae.ConvVAE(likelihood=Normal), "ConvVAE: likelihood=<class"),
        (lambda: likelihoods.make("VAE", {"sd": 1}), "likelihood={'sd': 1} must be one of"),
    ],
)
def test_arguments_out_of_their_domain(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()
