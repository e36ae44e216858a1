"""A family that neither PyMC3 nor fastvae has, as a user would add it: one class, and its line in `FAMILIES`."""

import numpy as np
import pymc3 as pm
import pytest
import scipy.special
import scipy.stats
import theano
import theano.tensor as tt

import fastvae
from fastvae import evaluation, posteriors
from fastvae.distributions.normal import MeanField
from fastvae.distributions.posterior import Distribution, Posterior
from fastvae.elbo import closed_form, step_updates
from fastvae.errors import ConfigurationError, DataError
from tests.linear_gaussian import QUICK
from tests.on_devices import on_every_device

B, D = 3, 2


class IsotropicDistribution(Distribution):
    """log q is one number a datum, not by entry, so it has no closed forms."""

    def __init__(self, mean, log_sd):
        self.mean, self.log_sd = mean, log_sd

    def draw(self, noise):
        return self.mean + tt.exp(self.log_sd) * noise

    def log_q(self, noise):
        entries = np.float32(-0.5) * tt.sqr(noise) - np.float32(0.5 * np.log(2 * np.pi)) - self.log_sd
        return entries.sum(axis=-1, keepdims=True)

    def grad_log_q(self, noise):
        return -noise * tt.exp(-self.log_sd)


class Isotropic(Posterior):
    """One standard deviation an image."""

    name = "isotropic"
    parameters = "mu", "log_sd"

    def n_spread(self, n_latent):
        return 1

    def spread(self, raw, n_latent):
        return tt.addbroadcast(raw, 1)

    def distribution(self, mean, spread, n_latent):
        return IsotropicDistribution(mean, tt.addbroadcast(spread, 1))

    def covariance(self, spread):
        return np.exp(2 * spread)[:, :, None] * np.eye(D)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    mean, log_sd, x = (rng.normal(size=(B, n)).astype("float32") for n in (D, 1, D))
    with pm.Model() as model:
        zs = pm.Normal("zs", 0, 1, shape=(B, D), dtype="float32", total_size=B)
        pm.Normal("xs", zs, 1, observed=x, total_size=B)
    params = dict(mu=theano.shared(mean, "mean"), log_sd=theano.shared(log_sd, "log_sd"))
    return pm.ADVI(model=model, local_rv={zs: params}), zs, params, mean, log_sd, x


@on_every_device
@pytest.mark.parametrize("objective, estimator", [("elbo", "pathwise"), ("iwae", "pathwise"), ("iwae", "dreg")])
def test_its_losses_and_gradients_are_those_of_the_formula(problem, objective, estimator):
    inference, _, params, mean, log_sd, x = problem
    noise = np.random.default_rng(1).standard_normal((3, B, D)).astype("float32")
    gradients = {}

    def capture(found, variables):
        gradients.update(zip(variables, found))
        return pm.updates.sgd(found, variables, learning_rate=1e-3)

    (group,) = inference.approx.groups
    loss, _ = step_updates(
        inference.objective, obj_optimizer=capture, more_obj_params=list(params.values()), objective=objective,
        more_replacements={group.symbolic_initial: theano.shared(noise)}, n_samples=3, estimator=estimator,
    )  # fmt: skip
    value, by_mean = theano.function([], [loss, gradients[params["mu"]]], mode=QUICK)()
    sd = np.exp(log_sd.astype(float))
    z = mean + sd * noise
    norm = scipy.stats.norm
    log_w = (norm(z, 1).logpdf(x) + norm(0, 1).logpdf(z) - norm(mean, sd).logpdf(z)).sum(axis=2)
    v = scipy.special.softmax(log_w, axis=0)[..., None] if objective == "iwae" else np.full((3, B, 1), 1 / 3)
    bound = log_w.mean(0) if objective == "elbo" else scipy.special.logsumexp(log_w, axis=0) - np.log(3)
    through_z = x - z - z
    if estimator == "dreg":
        v, through_z = v**2, through_z + noise / sd
    np.testing.assert_allclose(value, -bound.sum(), rtol=1e-5)
    np.testing.assert_allclose(by_mean, -(v * through_z).sum(axis=0), rtol=1e-4, atol=1e-5)


def test_pymc3s_own_group_is_of_the_family_and_has_no_closed_form(problem):
    inference, zs, _, mean, log_sd, _ = problem
    (group,) = inference.approx.groups
    assert isinstance(posteriors.of_group(group), IsotropicDistribution)
    assert not closed_form.has_closed_form(group, zs)
    noise = np.random.default_rng(2).standard_normal((1, B, D)).astype("float32")
    log_q = theano.clone(group.symbolic_logq_not_scaled, {group.symbolic_initial: tt.constant(noise)})
    sd = np.exp(log_sd)
    expected = scipy.stats.norm(mean, sd).logpdf(mean + sd * noise).sum(axis=(1, 2))
    np.testing.assert_allclose(theano.function([], log_q, mode=QUICK)(), expected, rtol=1e-4)


@on_every_device
@pytest.mark.parametrize("by_name", [True, False])
def test_a_model_of_it_trains_is_judged_and_comes_back(by_name, monkeypatch, tmp_path):
    images = np.random.default_rng(0).random((8, 1, 2, 2), dtype=np.float32)
    options = dict(image_shape=(1, 2, 2), n_latent=D, hidden=3)
    if by_name:
        monkeypatch.setitem(posteriors.FAMILIES, Isotropic.name, Isotropic)
    posterior = Isotropic.name if by_name else Isotropic()
    vae = fastvae.MLPVAE(**options, posterior=posterior, seed=1)
    run = dict(batch_size=4, seed=1, progressbar=False, checkpoint=tmp_path / "run")
    vae.fit(images, n=2, **run)
    vae = fastvae.MLPVAE(**options, posterior=posterior, seed=1)
    approx = vae.fit(images, n=3, **run, resume=True, may_change=["n"], held_out=images, held_out_every=3)
    assert np.isfinite(approx.hist).all() and np.isfinite(approx.held_out_hist).all()
    assert np.isfinite(evaluation.elbo(vae, images, seed=1).nats)
    draws = evaluation.inference_data(vae, images[:1], 3000, seed=1).posterior.zs.values[0, :, 0]
    np.testing.assert_allclose(
        np.cov(draws.T), vae.encode_covariance(images[:1])[0], rtol=0.15, atol=0.3
    )  # 5 standard errors

    vae.save(tmp_path / "vae.npz")
    if by_name:
        other = fastvae.load(tmp_path / "vae.npz")
    else:
        with pytest.raises(
            DataError, match="posterior='isotropic' must be one of 'mean-field', .*call its load_params"
        ):
            fastvae.load(tmp_path / "vae.npz")
        other = fastvae.MLPVAE(**options, posterior=Isotropic())
        other.load_params(tmp_path / "vae.npz")
    assert type(other.posterior) is Isotropic and vae.config["posterior"] == "isotropic"
    assert np.array_equal(other.encode_covariance(images), vae.encode_covariance(images))


def test_the_messages_name_it(monkeypatch):
    monkeypatch.setitem(posteriors.FAMILIES, Isotropic.name, Isotropic)
    with pytest.raises(ConfigurationError, match="posterior='x' must be one of 'mean-field', 'full-covariance', 'isot"):
        fastvae.MLPVAE(posterior="x")
    with pytest.raises(ConfigurationError, match=r"{latent: dict\(mu=mean, log_sd=log_sd\)} for isotropic"):
        fastvae.fit(1, local_rv=5)


class Wide(MeanField):
    """It takes the network's output otherwise; its distribution is that of `MeanField`."""

    name = "wide"

    def spread(self, raw, n_latent):
        return raw + np.float32(1)


class Wider(Wide):
    def distribution(self, mean, spread, n_latent):
        return super().distribution(mean, 2 * spread, n_latent)


class Named(Isotropic):
    name = "mean-field"


class Configured(Isotropic):
    def __init__(self, scale):
        self.scale = scale


def test_an_instance_that_would_be_taken_for_another_family_is_refused():
    assert fastvae.MLPVAE(posterior=Wide()).config["posterior"] == "wide"
    for posterior, message in [
        (Wider(), r"the parameters \('mu', 'rho'\) of another family"),
        (Named(), "has the name 'mean-field' of another family"),
        (Configured(2), "has scale of its own, which no parameter file keeps"),
        (Isotropic, "must be one of 'mean-field', 'full-covariance', or an instance"),
    ]:
        with pytest.raises(ConfigurationError, match=f"MLPVAE: posterior=.*{message}"):
            fastvae.MLPVAE(posterior=posterior)
    with pytest.raises(ConfigurationError, match=r"parameters=\('mu', 'rho'\) are those of the posterior MeanField"):
        type("Twin", (Isotropic,), {"parameters": ("mu", "rho")})


def test_a_family_that_is_defined_once_more_takes_the_place_of_the_first():
    for factor in (2, 3):

        class Scaled(Isotropic):
            name, parameters = "scaled", ("mu", "scaled")
            by = np.float32(factor)

            def distribution(self, mean, spread, n_latent):
                return super().distribution(mean, self.by * spread, n_latent)

        with pm.Model():
            zs = pm.Normal("zs", 0, 1, shape=(1, D), dtype="float32")
            params = Scaled().params(tt.zeros((1, D)), tt.ones((1, 1)))
            (group,) = pm.ADVI(local_rv={zs: params}).approx.groups
        found = posteriors.of_params(params, D).log_sd, posteriors.of_group(group).log_sd, group.distribution().log_sd
        assert [value.item() for value in theano.function([], found, mode=QUICK)()] == [factor] * 3
