"""What notebooks show of approximations."""

import re

import numpy as np
import pymc3 as pm
import pytest

import fastvae
from fastvae.training import showing


@pytest.fixture(scope="module")
def trained():
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
    images = np.zeros((20, 1, 4, 4), "float32")
    options = dict(held_out=images, held_out_every=2, progressbar=False)
    return vae, vae.fit(images, n=3, batch_size=5, seed=1, **options)


def test_an_approximation_of_a_vae_shows_its_posterior_likelihood_and_layers(trained):
    vae, approx = trained
    assert showing.latents(approx) == [("zs", "(5, 2)", "Normal", "mean_field", "of the encoder")]
    assert showing.observed(approx) == [("xs_", "Normal")] and approx.vae is vae
    text = re.sub("<[^>]+>", " ", approx._repr_html_())
    assert "MeanField: 3 steps, ended by steps, loss of the last 3 on average " in text
    assert f"held-out ELBO {approx.held_out_hist[0, 1]:,.4g} nats after step 2" in text
    assert "encoder.dense1" in text and "likelihood Normal(sd=0.1, learn_sd=False)" in text
    assert approx._repr_html_().endswith(vae._repr_html_())


def test_an_approximation_that_pymc3_made_has_fewer_lines_and_names_are_text():
    with pm.Model():
        mu = pm.Normal("<b>", 0, 1, shape=(2, 3))
        pm.Poisson("counts", pm.math.exp(mu.sum()), observed=np.ones(4))
        approx = pm.fit(2, method="fullrank_advi", progressbar=False, random_seed=1)
    assert showing.latents(approx) == [("<b>", "(2, 3)", "Normal", "full_rank", "27")]
    shown = approx._repr_html_()
    assert "&lt;b&gt;" in shown and "counts ~ Poisson" in shown and "ended" not in shown and "held-out" not in shown


def test_a_fit_whose_steps_were_all_skipped_has_no_loss(trained):
    _, approx = trained
    before, approx.hist = approx.hist, np.array([np.nan, np.nan])
    assert showing.ended(approx).startswith("2 steps, ended by steps, held-out ELBO")
    approx.hist = before
