"""The whole range of parameters against scipy in float64, and a training against stock PyMC3's own formula."""

import numpy as np
import pymc3 as pm
import scipy.special
import scipy.stats
import theano
import theano.tensor as tt

import fastvae
from fastvae.elbo import vae_model
from tests.distributions.cases import beta_binomial
from tests.linear_gaussian import QUICK
from tests.on_devices import on_every_device


@on_every_device
def test_the_errors_are_those_of_the_docstring(functions):
    rng, n = np.random.default_rng(0), 20_000
    log_odds, log_s = rng.uniform(-12, 12, n), rng.uniform(-7, 10, n)
    log_odds[::2] = rng.normal(0, 2, n // 2)
    alpha, beta = (np.exp(log_s) * scipy.special.expit(sign * log_odds) for sign in (1, -1))
    k = scipy.stats.betabinom(255, alpha, beta).rvs(random_state=1)
    k[1::2] = rng.choice([0, 1, 2, 128, 253, 254, 255], n // 2)
    x = (k / 255).astype("float32").reshape(n, 1, 1, 1)
    output = np.stack([log_odds, log_s], axis=1).astype("float32").reshape(n, 2, 1, 1)
    nats, gradient, _ = functions("beta-binomial")(x, output)
    expected = beta_binomial(x, output.astype(float))
    error = np.abs(nats - expected).ravel()
    assert (error / np.maximum(1, np.abs(expected).ravel())).max() < 3e-5 and error[::2].max() < 4e-5
    step = np.array([1e-4, 0]).reshape(1, 2, 1, 1)
    for i in range(2):
        up, down = (beta_binomial(x, output + sign * np.roll(step, i, axis=1)) for sign in (1, -1))
        inside = (np.abs(output[:, 0, 0, 0]) < 11.9) & (np.abs(output[:, 1, 0, 0] - 1.5) < 8.4)
        slope = ((up - down) / 2e-4).ravel()[inside]
        assert (np.abs(gradient[inside, i, 0, 0] - slope) / np.maximum(1, np.abs(slope))).max() < 2e-3


@on_every_device
def test_far_out_it_is_finite_and_its_gradient_is_0(functions):
    far = np.array([-1e30, -1e3, -13, 13, 1e3, 1e30], "float32")
    output = np.stack(np.meshgrid(far, far), axis=-1).reshape(-1, 2, 1, 1)
    for level in (0, 100, 255):
        nats, gradient, mean = functions("beta-binomial")(np.full((36, 1, 1, 1), level / 255, "float32"), output)
        assert np.isfinite(nats).all() and np.isfinite(mean).all() and (gradient == 0).all()


def test_it_trains_from_the_loss_of_stock_pymc3(images):
    vae = fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=4, likelihood="beta-binomial", seed=1)
    model, local_rv, xs = vae_model(vae, 8, 8)
    (zs,) = local_rv
    output = tt.cast(vae.decode_output(zs), "float64").reshape((8, 1, 2, 10, 10))
    log_odds, s = output[:, :, 0], tt.exp(output[:, :, 1])
    alpha, beta = s * tt.nnet.sigmoid(log_odds), s * tt.nnet.sigmoid(-log_odds)
    stock = pm.BetaBinomial.dist(alpha=alpha, beta=beta, n=255).logp(tt.iround(255 * xs)).sum()
    at = {zs: np.random.default_rng(0).normal(size=(8, 2)).astype("float32"), xs: images}
    values = theano.function([zs, xs], [model.observed_RVs[0].logp_sum_unscaledt, stock], mode=QUICK)(*at.values())
    np.testing.assert_allclose(*values, rtol=1e-5)
    options = dict(batch_size=8, learning_rate=0.05, seed=1, progressbar=False)
    losses = vae.fit(images, n=200, fn_kwargs=dict(mode=QUICK), **options).hist  # on the fast path: test_likelihood.py
    assert losses[-10:].mean() < losses[:10].mean() - 100
    assert vae.reconstruct(images).shape == images.shape
