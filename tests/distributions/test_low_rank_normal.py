"""The log-density against dense matrices, and a training, everywhere, with one value an image."""

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats
import theano

import fastvae
from fastvae import evaluation
from fastvae.elbo import vae_model
from fastvae.likelihoods import LowRankNormal
from tests.distributions.cases import low_rank_normal
from tests.linear_gaussian import QUICK
from tests.on_devices import on_every_device

RANK = 3


@pytest.fixture(scope="module")
def compiled():
    x, output = theano.tensor.tensor4("x", dtype="float32"), theano.tensor.tensor4("output", dtype="float32")
    nats = LowRankNormal(RANK).log_prob(x, output)
    return theano.function([x, output], [nats, theano.grad(nats.sum(), output)])


@on_every_device
@pytest.mark.parametrize("scale", [0.1, 1, 10])
def test_the_log_density_of_many_pixels_is_that_of_dense_matrices(scale, compiled):
    rng = np.random.default_rng(1)
    output = rng.normal(0, scale, size=(3, 2 + RANK, 12, 12)).astype("float32")
    x = rng.random((3, 1, 12, 12), dtype=np.float32)
    nats, gradient = compiled(x, output)
    assert nats.dtype == "float32" and np.isfinite(gradient).all()
    np.testing.assert_allclose(nats, low_rank_normal(x, output.astype(float)), rtol=2e-5, atol=1e-2 if scale > 1 else 0)


@on_every_device
@pytest.mark.parametrize("scale", [0, 1e3, 1e6])
def test_it_is_finite_where_columns_are_parallel_or_far_out(scale, compiled):
    direction = np.linspace(-1, 1, 16, dtype="float32").reshape(1, 1, 4, 4) * np.float32(scale)
    output = direction.repeat(2 + RANK, axis=1)  # all columns the same
    nats, gradient = compiled(np.ones((1, 1, 4, 4), "float32"), output)
    assert np.isfinite(nats).all() and np.isfinite(gradient).all()


def test_draws_have_the_covariance():
    output = np.random.default_rng(2).normal(0, 2, size=(1, 2 + RANK, 2, 2)).astype("float32")
    drawn = LowRankNormal(RANK).sample(output.repeat(20_000, axis=0), seed=1).reshape(20_000, 4)
    parts = output.reshape(2 + RANK, 4).astype(float)
    sd, factors = 0.01 + np.log1p(np.exp(parts[1] - 2)), 0.1 * parts[2:]
    expected = np.diag(sd**2) + factors.T @ factors
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.05 * expected.max())
    first = scipy.stats.norm(1 / (1 + np.exp(-parts[0, 0])), expected[0, 0] ** 0.5)
    assert scipy.stats.kstest(drawn[:, 0], first.cdf).pvalue > 1e-3


@pytest.fixture(scope="module")
def vae():
    return fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=6, likelihood=LowRankNormal(RANK), seed=1)


@pytest.fixture(scope="module")
def losses(vae, images):
    """The loss of stock PyMC3 and ours before the training, and those of the training."""
    model, local_rv, xs = vae_model(vae, 8, 8)
    (zs,) = local_rv
    z = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    expressions = [model.observed_RVs[0].logp_sum_unscaledt, vae.decode_output(zs)]
    ours, output = theano.function([zs, xs], expressions, mode=QUICK)(z, images)
    options = dict(n=150, batch_size=8, learning_rate=1e-2, seed=1, progressbar=False)
    approx = vae.fit(images, held_out=images, held_out_every=150, **options)
    return z, output, ours, approx


def test_the_loss_is_stock_pymc3s_and_falls(losses, images):
    _, output, ours, approx = losses
    parts = output.reshape(8, 2 + RANK, 100).astype(float)
    stock = 0.0
    for x, (raw_mean, raw_sd, *factors) in zip(images.reshape(8, 100), parts):
        w, sd = 0.1 * np.array(factors), 0.01 + np.log1p(np.exp(raw_sd - 2))
        normal = pm.MvNormal.dist(mu=1 / (1 + np.exp(-raw_mean)), cov=np.diag(sd**2) + w.T @ w)
        stock += normal.logp(x.astype(float)).eval()
    assert ours == pytest.approx(stock, rel=1e-5)
    assert approx.hist[-10:].mean() < approx.hist[:10].mean() - 100
    assert np.isfinite(approx.held_out_hist).all()


def test_bounds_and_files_take_one_value_an_image(losses, vae, images, tmp_path):
    bounds = [
        evaluation.elbo(vae, images, 20, seed=1),
        evaluation.iwae_bound(vae, images, 5, 20, seed=1),
        evaluation.log_likelihood(vae, images, 200, seed=1),
    ]
    nats = [bound.nats for bound in bounds]
    assert bounds[0].per_image.shape == (8,) and nats == sorted(nats)
    assert np.isfinite(evaluation.bits_per_dimension(bounds[0], (1, 10, 10))[0])
    vae.save(tmp_path / "vae.npz")
    again = fastvae.load(tmp_path / "vae.npz")
    assert repr(again.likelihood) == "LowRankNormal(rank=3)"
    np.testing.assert_allclose(again.decode_mean(np.zeros((1, 2))), vae.decode_mean(np.zeros((1, 2))), rtol=1e-5)


def test_folded_and_unrolled_samples_of_iwae_have_one_loss(images):
    losses = []
    for fold in (True, False):
        vae = fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=6, likelihood=LowRankNormal(1), seed=1)
        options = dict(objective="iwae", n_samples=2, fold=fold, fn_kwargs=dict(mode="FAST_COMPILE"))
        losses.append(vae.fit(images, n=2, batch_size=4, seed=1, progressbar=False, **options).hist)
    np.testing.assert_allclose(*losses, rtol=1e-5)
