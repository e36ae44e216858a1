import numpy as np
import scipy.stats
import theano
import theano.tensor as tt

import fastvae
from fastvae import posteriors
from fastvae.likelihoods import Normal
from tests.on_devices import on_every_device


@on_every_device
def test_fit_learns_the_sd(images):
    vae = fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=4, likelihood=Normal(learn_sd=True), seed=1)
    vae.fit(images, n=2, batch_size=4, seed=1, progressbar=False)
    assert vae.likelihood.log_sd.get_value() != np.float32(np.log(0.1))


def test_draws_have_the_sd():
    output = np.full((1, 1, 50, 50), 0.4, "float32")
    for likelihood in (Normal(sd=0.3), Normal(sd=0.3, learn_sd=True)):
        drawn = likelihood.sample(output, seed=1)
        assert scipy.stats.kstest(drawn.ravel(), scipy.stats.norm(0.4, 0.3).cdf).pvalue > 0.01


def test_two_models_do_not_share_a_learned_sd():
    likelihood = Normal(learn_sd=True)
    models = [fastvae.MLPVAE(image_shape=(1, 2, 2), hidden=2, likelihood=likelihood) for _ in range(2)]
    assert len({id(param) for model in models for param in model.likelihood.get_params()}) == 2


@on_every_device
def test_mean_field_equals_scipy():
    mean, rho, noise = np.random.default_rng(0).normal(size=(3, 4, 3)).astype("float32")
    params = dict(mu=theano.shared(mean), rho=theano.shared(rho))
    z, log_q = (f(params, theano.shared(noise), 3).eval() for f in (posteriors.draw, posteriors.log_density))
    expected = scipy.stats.norm(mean, np.log1p(np.exp(rho))).logpdf(z).sum(axis=1)
    np.testing.assert_allclose(log_q, expected, rtol=1e-5, atol=1e-5)


@on_every_device
def test_sds_of_a_mean_field_model():
    images = np.random.default_rng(1).random((5, 1, 4, 4), dtype=np.float32)
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=6, seed=1)
    rho = vae.encode(tt.constant(images))[1].eval()
    np.testing.assert_allclose(vae.encode_sd(images), np.log1p(np.exp(rho)), rtol=1e-5)
    assert vae.encode_covariance(images).shape == (5, 2, 2)
