"""Bounds on log p(x) against the closed form of probabilistic PCA, whose posterior is Normal too."""

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats
import theano.tensor as tt

import fastvae
from fastvae import evaluation, nn
from fastvae.errors import ConfigurationError, DataError
from fastvae.evaluation import importance
from fastvae.likelihoods import Normal
from tests.on_devices import on_every_device

PIXELS, LATENT = 6, 2


class LinearVAE(fastvae.VAE):
    """x = W z + b + sd noise."""

    def __init__(self, seed=0):
        super().__init__((1, 2, 3), LATENT, likelihood=Normal(sd=0.2, learn_sd=True), posterior="full-covariance")
        rng = np.random.default_rng(seed)
        self.mean, self.spread = nn.Linear(PIXELS, LATENT, rng=rng), nn.Linear(PIXELS, 3, rng=rng)
        self.out = nn.Linear(LATENT, PIXELS, rng=rng)

    def encode(self, x):
        return self.mean(x.flatten(2)), self.posterior.spread(self.spread(x.flatten(2)), LATENT)

    def decode(self, z):
        return self.out(z).reshape((z.shape[0], 1, 2, 3))

    def get_params(self):
        return [param for part in (self.mean, self.spread, self.out, self.likelihood) for param in part.get_params()]

    def log_p(self, images):
        """The closed form: log Normal(x; b, W W' + sd^2)."""
        w, b = (param.get_value().astype(float) for param in self.out.get_params())
        variance = np.exp(2 * float(self.likelihood.log_sd.get_value()))
        p = scipy.stats.multivariate_normal(b, w.T @ w + variance * np.eye(PIXELS))
        return p.logpdf(images.reshape(-1, PIXELS))


def maximum_log_p(images):
    """The highest mean log-likelihood of probabilistic PCA (Tipping and Bishop, 1999, eq. 3.8)."""
    values = np.linalg.eigvalsh(np.cov(images.reshape(-1, PIXELS).T.astype(float), bias=True))[::-1]
    rest = values[LATENT:].mean()
    return -0.5 * (
        PIXELS * np.log(2 * np.pi) + np.log(values[:LATENT]).sum() + (PIXELS - LATENT) * np.log(rest) + PIXELS
    )


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, LATENT)) @ rng.normal(0, 0.1, size=(LATENT, PIXELS))
    return np.clip(0.5 + z + 0.03 * rng.normal(size=(300, PIXELS)), 0, 1).astype("float32").reshape(-1, 1, 2, 3)


@pytest.fixture(scope="module")
def trained(images):
    vae = LinearVAE()
    for rate in (0.02, 0.002):
        vae.fit(images, n=4000, batch_size=100, learning_rate=rate, seed=1, progressbar=False)
    return vae


def test_the_trained_elbo_reaches_probabilistic_pca(trained, images):
    reached = evaluation.elbo(trained, images, n_samples=50, seed=1)
    gap = maximum_log_p(images) - reached.nats
    print(f"gap to the maximum of probabilistic PCA: {gap:.4f} +- {reached.monte_carlo_error:.4f} nats per image")
    assert -3 * reached.monte_carlo_error < gap < 0.05


@on_every_device
def test_importance_sampling_equals_the_closed_form(images):
    """Away from the optimum, where the ELBO is clearly below log p(x)."""
    vae = LinearVAE()
    vae.fit(images, n=400, batch_size=100, learning_rate=0.01, seed=1, progressbar=False)
    exact = vae.log_p(images)
    lower = evaluation.elbo(vae, images, n_samples=20, seed=1)
    tighter = evaluation.iwae_bound(vae, images, k=5, n_samples=20, seed=1)
    estimate = evaluation.log_likelihood(vae, images, n_samples=2000, seed=1)
    assert abs(estimate.nats - exact.mean()) < 4 * estimate.monte_carlo_error < 0.05
    assert estimate.standard_error == pytest.approx(exact.std(ddof=1) / np.sqrt(300), rel=0.05)
    np.testing.assert_allclose(estimate.per_image, exact, atol=1)
    margin = 3 * np.hypot(lower.monte_carlo_error, tighter.monte_carlo_error)
    assert lower.nats + margin < tighter.nats < exact.mean() + 3 * tighter.monte_carlo_error


def test_seeds_repeat_and_batches_change_nothing_but_the_noise(trained, images):
    one, same, other = (evaluation.elbo(trained, images[:7], 5, seed, batch_size=3) for seed in (1, 1, 2))
    assert np.array_equal(one.per_image, same.per_image) and not np.array_equal(one.per_image, other.per_image)
    several = evaluation.elbo(trained, images[:7], 200, seed=3)
    np.testing.assert_allclose(one.per_image, several.per_image, atol=3)
    assert np.isnan(evaluation.elbo(trained, images[:7], seed=1).monte_carlo_error)


class Known:
    """Draws of given log weights in turn."""

    def __init__(self, weights):
        self.weights = iter(weights)

    def __call__(self):
        return next(self.weights)


def test_streamed_sums_equal_direct_ones():
    w = np.random.default_rng(0).normal(0, 3, size=(40, 5))
    value, variance = importance._log_mean_exp(Known(w), 40)
    np.testing.assert_allclose(value, np.log(np.exp(w).mean(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(variance, np.exp(w).var(axis=0, ddof=1) / 40 / np.exp(w).mean(axis=0) ** 2, rtol=1e-10)
    value, variance = importance._average(Known(w), 5, 8)
    bounds = np.log(np.exp(w.reshape(8, 5, 5)).mean(axis=1))
    np.testing.assert_allclose(value, bounds.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, bounds.var(axis=0, ddof=1) / 8, rtol=1e-10)


def test_streamed_sums_bear_weights_beyond_the_range_of_exp():
    value, variance = importance._log_mean_exp(Known(np.array([[-2000.0, 900], [-2000, -np.inf]])), 2)
    np.testing.assert_allclose(value, [-2000, 900 - np.log(2)])
    np.testing.assert_allclose(variance, [0, 1], atol=1e-9)


@pytest.fixture(scope="module")
def users():
    """A pm.Model of fixed batch 4, two local variables of which one is positive, and data of images and labels."""
    xs, labels = tt.fmatrix("xs"), tt.fvector("labels")
    with pm.Model() as model:
        z = pm.Normal("z", 0, 1, shape=(4, 2), total_size=100)
        rate = pm.Gamma("rate", 2, 1, shape=(4, 1), total_size=100)
        pm.Normal("x", mu=tt.tile(z, (1, 2)).reshape((4, 4)) * rate, sigma=0.7, observed=xs, total_size=100)
        pm.Normal("y", mu=z[:, 0], sigma=2, observed=labels, total_size=100)
    local_rv = {
        z: dict(mu=xs[:, :2], L_tril=tt.concatenate([xs[:, 2:3] + 1, xs[:, 3:], xs[:, 2:3] + 2], axis=1)),
        rate: dict(mu=xs[:, :1], rho=labels[:, None]),
    }
    rng = np.random.default_rng(0)
    data = {xs: rng.random((6, 4)), labels: rng.random(6)}
    return model, local_rv, data


@on_every_device
def test_log_weights_of_a_users_model_equal_scipy(users):
    model, local_rv, data = users
    functions = importance.Amortised(model, local_rv, list(data))
    assert functions.names == ["z", "rate"] and functions.batch_size == 4
    x, y = (array[:4].astype("float32") for array in data.values())
    params = functions.encode(x, y)
    noise = functions.noise(np.random.default_rng(1), 4)
    z, rate = functions.draw(*params, *noise)
    mu, packed, log_mu, rho = params
    expected = scipy.stats.norm(0, 1).logpdf(z).sum(axis=1) + scipy.stats.gamma(2).logpdf(rate[:, 0])
    expected += scipy.stats.norm(np.tile(z, (1, 2)) * rate, 0.7).logpdf(x).sum(axis=1)
    expected += scipy.stats.norm(z[:, 0], 2).logpdf(y)
    for i in range(4):
        lower = np.array([[packed[i, 0], 0], [packed[i, 1], packed[i, 2]]])
        expected[i] -= scipy.stats.multivariate_normal(mu[i], lower @ lower.T).logpdf(z[i])
    log_normal = scipy.stats.lognorm(np.logaddexp(0, rho[:, 0]), scale=np.exp(log_mu[:, 0]))
    expected -= log_normal.logpdf(rate[:, 0])
    np.testing.assert_allclose(functions.log_weights(x, y, *params, *noise), expected, rtol=1e-4)


def test_a_users_model_is_judged_in_batches_of_its_own_size(users):
    model, local_rv, data = users
    estimate = evaluation.log_likelihood(model, data, 300, seed=1, local_rv=local_rv)
    assert estimate.per_image.shape == (6,) and np.isfinite(estimate.per_image).all()
    lower = evaluation.elbo(model, data, 300, seed=1, local_rv=local_rv)
    assert (lower.per_image < estimate.per_image).all()


def test_draws_of_a_users_model_become_inference_data(users):
    model, local_rv, data = users
    posterior = evaluation.inference_data(model, data, 5, seed=1, local_rv=local_rv).posterior
    assert dict(posterior.z.sizes) == {"chain": 1, "draw": 5, "image": 6, "z_latent": 2}
    assert (posterior.rate > 0).all()


def test_draws_of_a_vae_have_the_posteriors_moments(trained, images):
    draws = evaluation.inference_data(trained, images[:3], 4000, seed=1).posterior.zs.values[0]
    np.testing.assert_allclose(draws.mean(axis=0), trained.encode_mean(images[:3]), atol=0.05)
    covariance = [np.cov(draws[:, i].T) for i in range(3)]
    np.testing.assert_allclose(covariance, trained.encode_covariance(images[:3]), atol=0.01, rtol=0.1)


def test_what_does_not_fit_is_said(users, trained, images):
    model, local_rv, data = users
    with pytest.raises(ConfigurationError, match=r"elbo: a pymc3.Model needs local_rv=.*got local_rv=None"):
        evaluation.elbo(model, data)
    with pytest.raises(ConfigurationError, match=r"random variables \['rate_log__'\] without a posterior in local_rv"):
        evaluation.elbo(model, data, local_rv=dict(list(local_rv.items())[:1]))
    with pytest.raises(DataError, match=r"elbo: the data have shapes \[\(6, 4\), \(5,\)\]: give equal, positive"):
        evaluation.elbo(model, {key: value[: 6 - i] for i, (key, value) in enumerate(data.items())}, local_rv=local_rv)
    with pytest.raises(ConfigurationError, match="elbo: n_samples=0 must be an integer of at least 1"):
        evaluation.elbo(trained, images, 0)
    with pytest.raises(ConfigurationError, match="iwae_bound: k=0"):
        evaluation.iwae_bound(trained, images, 0)
    with pytest.raises(DataError, match="log_likelihood: found images of float32"):
        evaluation.log_likelihood(trained, images[:, :, :1], 3)
    with pytest.raises(ConfigurationError, match="model=3 must be a fastvae.VAE or a pymc3.Model"):
        evaluation.elbo(3, images)


def test_potentials_are_refused():
    with pm.Model() as model:
        z = pm.Normal("z", 0, 1, shape=(4, 2))
        pm.Potential("p", z.sum())
    with pytest.raises(ConfigurationError, match="the model has potentials"):
        importance.Amortised(model, {z: dict(mu=tt.fmatrix(), rho=tt.fmatrix())}, [])
