import numpy as np
import pymc3 as pm
import pytest
import scipy.stats
import theano
import theano.tensor as tt

import fastvae
from fastvae import posteriors
from tests.conftest import runs_in_python
from tests.on_devices import on_every_device

B, D = 4, 3


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def mean(rng):
    return rng.normal(size=(B, D)).astype("float32")


@pytest.fixture(scope="module")
def packed(rng):
    """Packed lower triangles, one with a negative diagonal entry: a user's own may have that."""
    packed = rng.normal(size=(B, D * (D + 1) // 2)).astype("float32")
    packed[:, [0, 2, 5]] = rng.uniform(0.1, 3, size=(B, D))
    packed[0, 2] *= -1
    return packed


def lower(packed):
    matrices = np.zeros((len(packed), D, D))
    for matrix, entries in zip(matrices, packed):
        matrix[np.tril_indices(D)] = entries
    return matrices


@on_every_device
def test_full_covariance_equals_scipy(mean, packed, rng):
    noise = rng.standard_normal((2, B, D)).astype("float32")
    params = dict(mu=theano.shared(mean), L_tril=theano.shared(packed))
    z = posteriors.draw(params, theano.shared(noise), D)
    z, log_q = theano.function([], [z, posteriors.log_density(params, theano.shared(noise), D)])()
    assert z.dtype == log_q.dtype == np.float32 and log_q.shape == (2, B)
    for b, matrix in enumerate(lower(packed)):
        np.testing.assert_allclose(z[:, b], mean[b] + noise[:, b] @ matrix.T, rtol=1e-5, atol=1e-5)
        expected = scipy.stats.multivariate_normal(mean[b], matrix @ matrix.T).logpdf(z[:, b])
        np.testing.assert_allclose(log_q[:, b], expected, rtol=1e-4, atol=1e-4)


@on_every_device
def test_the_gradient_of_log_q_by_the_draw_equals_numpys(mean, packed, rng):
    noise = rng.standard_normal((2, B, D)).astype("float32")
    params = dict(mu=theano.shared(mean), L_tril=theano.shared(packed))
    gradient = theano.function([], posteriors.grad_log_q(params, theano.shared(noise), D))()
    assert gradient.dtype == np.float32
    for b, matrix in enumerate(lower(packed)):
        expected = -np.linalg.solve(matrix.T, noise[:, b].T.astype("float64")).T
        np.testing.assert_allclose(gradient[:, b], expected, rtol=1e-4, atol=1e-5)


def test_pymc3s_row_wise_group_is_that_density_and_its_gradient_runs_in_c(mean, packed, rng):
    mu, l_tril = theano.shared(mean), theano.shared(packed)
    with pm.Model() as model:
        z = pm.Normal("z", 0, 1, shape=(B, D), total_size=40)
        pm.Normal("x", z.sum(axis=1), 1, observed=np.zeros(B, "float32"), total_size=40)
    (group,) = pm.ADVI(model=model, local_rv={z: dict(mu=mu, L_tril=l_tril)}).approx.groups
    noise = rng.standard_normal((1, B, D)).astype("float32")
    log_q = theano.clone(group.symbolic_logq_not_scaled, {group.symbolic_initial: tt.constant(noise)})
    f = theano.function([], [log_q, *tt.grad(log_q.sum(), [l_tril])])
    value, gradient = f()
    expected = sum(
        scipy.stats.multivariate_normal(np.zeros(D), matrix @ matrix.T).logpdf(matrix @ eps)
        for matrix, eps in zip(lower(packed), noise[0])
    )
    np.testing.assert_allclose(value, [expected], rtol=1e-4)
    by_hand = np.zeros_like(packed)  # log q of the reparameterised draw depends on the diagonal alone
    by_hand[:, [0, 2, 5]] = -1 / packed[:, [0, 2, 5]]
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-5, atol=1e-6)
    assert runs_in_python(f) == []


@on_every_device
def test_covariances_and_sds_of_a_model(mean):
    images = np.random.default_rng(1).random((5, 1, 4, 4), dtype=np.float32)
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), n_latent=D, hidden=6, posterior="full-covariance", seed=1)
    x = tt.constant(images)
    mean, spread = vae.encode(x)
    raw = vae.encoder[-1](vae.encoder[1](vae.encoder[0](x))).eval()[:, D:]
    expected = raw.copy()
    expected[:, [0, 2, 5]] = np.log1p(np.exp(raw[:, [0, 2, 5]]))
    np.testing.assert_allclose(spread.eval(), expected, rtol=1e-5, atol=1e-6)
    covariance = lower(expected) @ lower(expected).swapaxes(1, 2)
    np.testing.assert_allclose(vae.encode_covariance(images), covariance, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(vae.encode_sd(images) ** 2, np.diagonal(covariance, axis1=1, axis2=2), rtol=1e-4)
    assert vae.encode_mean(images).shape == mean.eval().shape == (5, D)
