from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special
import theano

import fastvae
from fastvae.likelihoods import Bernoulli
from fastvae.models import vae as vae_module
from tests.distributions.cases import bernoulli
from tests.on_devices import on_every_device


@on_every_device
@pytest.mark.parametrize("logit", [-1e4, -100, -20, 0, 20, 100, 1e4])
def test_bernoulli_far_out(logit, functions):
    x = np.array([0, 1], "float32").reshape(2, 1, 1, 1)
    nats, gradient, mean = functions("bernoulli")(x, np.full((2, 1, 1, 1), logit, "float32"))
    p = scipy.special.expit(float(logit))
    np.testing.assert_allclose(nats.ravel(), bernoulli(x.ravel(), float(logit)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gradient.ravel(), [-p, 1 - p], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(mean.ravel(), p, rtol=1e-6, atol=1e-7)


def test_its_data_are_one_draw_of_0_and_1():
    images = np.broadcast_to(np.array([0, 0.3, 1], "float32"), (2000, 1, 1, 3)).copy()
    drawn = Bernoulli().as_data(images, seed=3)
    assert drawn.dtype == np.float32 and set(np.unique(drawn)) == {0, 1}
    assert (drawn[..., 0] == 0).all() and (drawn[..., 2] == 1).all()
    assert abs(drawn[..., 1].mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 2000)
    assert np.array_equal(drawn, Bernoulli("static").as_data(images, seed=3))


@on_every_device
@pytest.mark.parametrize("binarize", ["dynamic", "static"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_fit_binarises(binarize, dtype, images, monkeypatch):
    vae = fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=4, likelihood=Bernoulli(binarize), seed=1)
    seen, minibatch = [], fastvae.Minibatch
    monkeypatch.setattr(vae_module, "Minibatch", lambda *args, **kw: seen.append(minibatch(*args, **kw)) or seen[-1])
    monkeypatch.setattr(vae_module.training, "fit", lambda *args, **kwargs: SimpleNamespace())
    vae.fit(images if dtype == "float32" else np.rint(255 * images).astype("uint8"), batch_size=400, seed=1)
    draws = theano.function([], seen[0])() if dtype == "float32" else seen[0].eval()
    assert draws.dtype == np.float32 and set(np.unique(draws)) == {0, 1}
    distinct = len(np.unique(draws.reshape(400, -1), axis=0))  # of eight images
    assert distinct == 8 if binarize == "static" else distinct > 300
