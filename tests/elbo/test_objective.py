"""Every objective against gradients derived by hand, closed-form expectations and stock PyMC3."""

import itertools

import numpy as np
import pymc3 as pm
import pytest
import scipy.special
import scipy.stats
import theano
import theano.tensor as tt

import fastvae
from fastvae import schedules
from fastvae.elbo import step_updates, vae_model
from fastvae.errors import ConfigurationError
from tests.linear_gaussian import (
    BETA,
    LATENT,
    PRIOR_MEAN,
    PRIOR_SD,
    QUICK,
    SD,
    SIZE,
    B,
    LinearGaussian,
    N,
    evaluate,
    loss_and_gradients,
    noise_of,
)
from tests.on_devices import on_every_device

COMBINATIONS = [
    (objective, kl, k, estimator, fold)
    for objective, kl, k, estimator, fold in itertools.product(
        ("elbo", "iwae"), ("monte-carlo", "analytic"), (1, 3), ("pathwise", "dreg"), (True, False)
    )
    if (objective, estimator) != ("elbo", "dreg") and (k > 1 or fold)
]


@pytest.fixture(scope="module")
def toy():
    return LinearGaussian()


@on_every_device
@pytest.mark.parametrize("objective, kl, k, estimator, fold", COMBINATIONS)
def test_loss_and_gradients_equal_those_derived_by_hand(toy, objective, kl, k, estimator, fold):
    noise = noise_of(k)
    expressions = toy.expressions(noise, objective=objective, kl=kl, estimator=estimator, fold=fold, kl_weight=BETA)
    for value, expected in zip(evaluate(expressions), toy.by_hand(noise.astype("float64"), objective, kl, estimator)):
        assert value.dtype == "float32"
        assert np.linalg.norm(value - expected) <= 1e-5 * np.linalg.norm(expected)


ROWS = 20_000  # independent draws of one datum's gradient in one call


@pytest.fixture(scope="module")
def rows():
    return LinearGaussian(ROWS, amortised=False)


def gradients_by_row(rows, k, **options):
    """Gradients with respect to mean and rho, (ROWS, 2 LATENT) in float64, each row from noise of its own."""
    _, *gradients = evaluate(rows.expressions(noise_of(k, ROWS), **options))
    return np.concatenate(gradients, axis=1).astype("float64")


def agree(a, b):
    """Whether two sets of independent draws have one mean, to five standard errors."""
    error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / ROWS)
    return np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * error)


def test_both_kl_agree_in_expectation_and_the_closed_one_has_less_variance(rows):
    sampled = gradients_by_row(rows, 1, kl="monte-carlo")
    closed = gradients_by_row(rows, 1, kl="analytic")
    mean, sd = 0.4, np.log1p(np.exp(-0.2))
    w, b = rows.w.get_value().astype("float64"), rows.b.get_value()
    by_mean = -(rows.x[0] - np.full(LATENT, mean) @ w - b) / SD**2 @ w.T + (mean - PRIOR_MEAN) / PRIOR_SD[0] ** 2
    by_sd = sd * (w**2).sum(1) / SD**2 + sd / PRIOR_SD[0] ** 2 - 1 / sd
    exact = np.concatenate([by_mean, by_sd / (1 + np.exp(0.2))])  # the expectations of both, by hand
    for estimates in (sampled, closed):
        assert np.all(np.abs(estimates.mean(axis=0) - exact) < 5 * estimates.std(axis=0) / np.sqrt(ROWS))
    assert np.all(closed.var(axis=0) < 0.95 * sampled.var(axis=0))


def test_the_doubly_reparameterised_gradient_has_the_expectation_of_the_pathwise_one(rows):
    options = dict(objective="iwae", kl_weight=BETA)
    pathwise, dreg = (gradients_by_row(rows, 3, estimator=name, **options) for name in ("pathwise", "dreg"))
    assert agree(pathwise, dreg)
    assert not agree(pathwise, dreg * 1.1)  # the test would see a tenth
    assert dreg.var(axis=0).sum() < 0.6 * pathwise.var(axis=0).sum()


@on_every_device
def test_the_bound_rises_with_the_samples_up_to_log_p(rows):
    w, b = rows.w.get_value().astype("float64"), rows.b.get_value()
    covariance = w.T @ np.diag(PRIOR_SD[0].astype("float64") ** 2) @ w + float(SD) ** 2 * np.eye(SIZE)
    residual = rows.x[0] - PRIOR_MEAN @ w - b
    log_p = -0.5 * (residual @ np.linalg.solve(covariance, residual) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    bounds = [
        -evaluate(rows.expressions(noise_of(k, ROWS), objective=objective)[:1])[0] / ROWS
        for objective, k in (("elbo", 5), ("iwae", 1), ("iwae", 5), ("iwae", 50))
    ]
    assert abs(bounds[0] - bounds[1]) < 0.05
    assert bounds[1] + 0.1 < bounds[2] and bounds[2] + 0.02 < bounds[3] < log_p + 0.005
    assert bounds[3] > log_p - 0.1


@on_every_device
def test_iwae_of_one_sample_is_the_elbo(toy):
    noise = noise_of(1)
    elbo, iwae = (evaluate(toy.expressions(noise, objective=objective)) for objective in ("elbo", "iwae"))
    for a, b in zip(elbo, iwae):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@on_every_device
def test_the_logarithm_of_the_mean_weight_is_stable():
    far = LinearGaussian()
    far.b.set_value(far.b.get_value() + np.float32(300))  # log w of about -10**5: exp underflows
    loss, *gradients = evaluate(far.expressions(noise_of(3), objective="iwae"))
    assert loss > 1e4 and all(np.isfinite(gradient).all() for gradient in gradients)


@on_every_device
@pytest.mark.parametrize("objective, kl", [("elbo", "monte-carlo"), ("elbo", "analytic"), ("iwae", "monte-carlo")])
def test_a_full_covariance_posterior_has_the_density_and_kl_of_the_textbook(objective, kl):
    rng = np.random.default_rng(3)
    tril = np.array([[0.9, 0.3, 0.7], [1.2, -0.4, 0.5]], "float32")
    mean, x = rng.normal(size=(2, 2)).astype("float32"), rng.normal(size=(2, 2)).astype("float32")
    packed = theano.shared(tril, "tril")
    with pm.Model() as model:
        zs = pm.Normal("zs", PRIOR_MEAN, PRIOR_SD, shape=(2, LATENT), dtype="float32", total_size=N)
        pm.Normal("xs_", zs, SD, observed=x, total_size=N)
    inference = pm.ADVI(model=model, local_rv={zs: dict(mu=theano.shared(mean), L_tril=packed)})
    noise = noise_of(3, rows=2)
    (loss, _) = loss_and_gradients(inference, [packed], {}, noise, n_samples=3, objective=objective, kl=kl)
    (value,) = evaluate([loss])

    prior = scipy.stats.norm(PRIOR_MEAN, PRIOR_SD)
    expected = 0.0
    for b in range(2):
        factor = np.array([[tril[b, 0], 0], [tril[b, 1], tril[b, 2]]], "float64")
        z = mean[b] + noise[:, b] @ factor.T
        log_x = scipy.stats.norm(z, SD).logpdf(x[b]).sum(1)
        log_q = scipy.stats.multivariate_normal(mean[b], factor @ factor.T).logpdf(z)
        log_w = log_x + prior.logpdf(z).sum(1) - log_q
        s = np.diag(PRIOR_SD[0].astype("float64") ** 2)
        closed = 0.5 * (
            np.trace(np.linalg.solve(s, factor @ factor.T)) - LATENT
            + (mean[b] - PRIOR_MEAN) @ np.linalg.solve(s, mean[b] - PRIOR_MEAN)
            + np.linalg.slogdet(s)[1] - np.linalg.slogdet(factor @ factor.T)[1]
        )  # fmt: skip
        if objective == "iwae":
            expected -= scipy.special.logsumexp(log_w) - np.log(3)
        else:
            expected -= log_w.mean() if kl == "monte-carlo" else log_x.mean() - closed
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@on_every_device
@pytest.mark.parametrize("estimator", ["pathwise", "dreg"])
def test_gradients_of_iwae_by_a_full_covariance_equal_those_derived_by_hand(estimator):
    rng = np.random.default_rng(4)
    packed = np.array([[0.9, 0.3, 0.7], [1.2, -0.4, -0.5]], "float32")
    mean, x = rng.normal(size=(2, 2)).astype("float32"), rng.normal(size=(2, 2)).astype("float32")
    params = [theano.shared(mean, "mean"), theano.shared(packed, "packed")]
    with pm.Model() as model:
        zs = pm.Normal("zs", PRIOR_MEAN, PRIOR_SD, shape=(2, LATENT), dtype="float32", total_size=N)
        pm.Normal("xs_", zs, SD, observed=x, total_size=N)
    inference = pm.ADVI(model=model, local_rv={zs: dict(zip(("mu", "L_tril"), params))})
    noise, beta = noise_of(3, rows=2), float(BETA)
    options = dict(n_samples=3, objective="iwae", estimator=estimator, kl_weight=BETA)
    _, *gradients = evaluate(loss_and_gradients(inference, params, {}, noise, **options))
    for b, (a, c, d) in enumerate(packed.astype("float64")):
        lower, eps = np.array([[a, 0], [c, d]]), noise[:, b].astype("float64")
        z = mean[b] + eps @ lower.T
        log_x, log_z = scipy.stats.norm(z, SD).logpdf(x[b]).sum(1), scipy.stats.norm(PRIOR_MEAN, PRIOR_SD).logpdf(z)
        log_q = scipy.stats.multivariate_normal(mean[b], lower @ lower.T).logpdf(z)
        v = scipy.special.softmax(log_x + beta * (log_z.sum(1) - log_q))[:, None]
        by_z = (x[b] - z) / SD**2 - beta * (z - PRIOR_MEAN) / PRIOR_SD**2
        if estimator == "dreg":
            by_z = v * (1 - beta + beta * v) * (by_z + beta * np.linalg.solve(lower @ lower.T, (z - mean[b]).T).T)
            of_scale = 0  # what log q, -log |L_ii|, has besides through z
        else:
            by_z, of_scale = v * by_z, beta / np.diag(lower)
        by_lower = by_z.T @ eps + np.diag(of_scale * np.ones(2))
        expected = by_z.sum(0), by_lower[np.tril_indices(2)]
        for gradient, by_hand in zip(gradients, expected):
            np.testing.assert_allclose(gradient[b], -by_hand, rtol=1e-4, atol=1e-5)


class WithGlobal:
    """x_b = w z_b + noise with a global w: its prior and posterior count once for all data."""

    def __init__(self):
        self.x = np.random.default_rng(5).normal(size=(B, 1)).astype("float32")
        with pm.Model() as model:
            w = pm.Normal("w", 0.5, 2)
            scale = pm.HalfNormal("scale", 1)
            zs = pm.Normal("zs", 0, 1, shape=(B, 1), dtype="float32", total_size=N)
            pm.Normal("xs_", w * zs, scale, observed=self.x, total_size=N)
        posterior = dict(mu=theano.shared(self.x / 2), rho=theano.shared(self.x))
        self.inference = pm.ADVI(model=model, local_rv={zs: posterior})
        self.of_all, self.local = sorted(self.inference.approx.groups, key=lambda group: group.local)

    def loss(self, of_all, local, **options):
        replacements = {self.of_all.symbolic_initial: theano.shared(of_all)}
        options = dict(n_samples=len(local), **options)
        return evaluate(loss_and_gradients(self.inference, [], replacements, local, **options))[0]

    def by_hand(self, of_all, local, kl, objective):
        sd = np.log1p(np.exp(self.x.astype("float64")))
        z = self.x / 2 + sd * local
        means = dict(zip(("w", "scale_log__"), self.of_all.params_dict["mu"].get_value().astype("float64")))
        order = [variable.name for variable in self.of_all.group]
        u = {name: means[name] + np.log(2) * of_all[:, i] for i, name in enumerate(order)}
        w, scale = u["w"][:, None, None], np.exp(u["scale_log__"])[:, None, None]
        norm = scipy.stats.norm
        log_w = norm(w * z, scale).logpdf(self.x) + norm(0, 1).logpdf(z) - norm(self.x / 2, sd).logpdf(z)
        log_scale = scipy.stats.halfnorm(0, 1).logpdf(scale[:, 0, 0]) + u["scale_log__"]  # with the Jacobian of exp
        log_q = {name: norm(means[name], np.log(2)).logpdf(u[name]) for name in order}
        kl_of_w = log_q["w"] - norm(0.5, 2).logpdf(u["w"])
        if kl == "analytic":
            kl_of_w = np.log(2 / np.log(2)) + (np.log(2) ** 2 + (means["w"] - 0.5) ** 2) / 8 - 0.5
            if objective == "elbo":
                log_w = norm(w * z, scale).logpdf(self.x) - (-np.log(sd) + (sd**2 + (self.x / 2) ** 2) / 2 - 0.5)
        bound = log_w.mean(0) if objective == "elbo" else scipy.special.logsumexp(log_w, axis=0) - np.log(len(local))
        return -bound.sum() + B / N * np.mean(kl_of_w + log_q["scale_log__"] - log_scale)


@pytest.fixture(scope="module")
def with_global():
    return WithGlobal()


@on_every_device
@pytest.mark.parametrize("kl", ["monte-carlo", "analytic"])
@pytest.mark.parametrize("objective, fold", [("elbo", None), ("iwae", True), ("iwae", False)])
def test_global_variables_count_once_and_share_one_draw_only_in_iwae(with_global, objective, kl, fold):
    local = np.random.default_rng(2).standard_normal((3, B, 1)).astype("float32")
    of_all = local[:, :2, 0] if objective == "elbo" else local[:1, :2, 0]
    value = with_global.loss(of_all, local, objective=objective, kl=kl, fold=fold)
    np.testing.assert_allclose(value, with_global.by_hand(of_all, local, kl, objective), rtol=1e-5)


def test_the_log_names_the_variables_whose_kl_stays_monte_carlo(with_global, caplog):
    noise = noise_of(1)[:, :, :1]
    with_global.loss(noise[0, :1, :1].repeat(2, axis=1), noise, kl="analytic")
    assert "the KL of scale_log__ stays Monte Carlo" in caplog.text


@on_every_device
def test_a_weight_that_changes_changes_the_next_step(toy):
    noise = noise_of(1)
    expressions = toy.expressions(noise, kl_weight=schedules.linear(0, 1, 2))
    shared = theano.shared(0.5)  # float64, as a user's may be
    loss_at = theano.function([], toy.expressions(noise, kl_weight=shared)[0], mode=QUICK)
    step = theano.function([], expressions[0], mode=QUICK)
    for weight in (0, 0.5, 1, 1):
        shared.set_value(weight)
        np.testing.assert_allclose(step(), loss_at(), rtol=1e-6)


def simple(total_size=N, observed_size=N, potential=False, **posterior):
    x = np.ones((B, LATENT), "float32")
    with pm.Model() as model:
        zs = pm.Normal("zs", 0, 1, shape=(B, LATENT), dtype="float32", total_size=total_size)
        pm.Normal("xs_", zs, 1, observed=x, total_size=observed_size)
        if potential:
            pm.Potential("penalty", -tt.sum(zs**2))
    params = {name: theano.shared(value) for name, value in posterior.items()} or dict(
        mu=theano.shared(x), rho=theano.shared(x)
    )
    return pm.ADVI(model=model, local_rv={zs: params}).objective


@pytest.mark.parametrize(
    "objective, options, match",
    [
        (simple, dict(objective="vae"), "objective='vae' must be one of 'elbo', 'iwae'"),
        (simple, dict(kl="closed"), "kl='closed' must be one of"),
        (simple, dict(estimator="dreg"), "estimator='dreg' is one of the IWAE bound"),
        (simple, dict(n_samples=0), "n_samples=0 must be None or an integer of at least 1"),
        (simple, dict(n_samples=2, obj_n_mc=2), "n_samples=2 and obj_n_mc=2 are two names of one number"),
        (simple, dict(kl_weight=-1), "kl_weight=-1 must be a finite number of at least 0"),
        (simple, dict(kl_weight=tt.fvector("w")), "kl_weight=w must be"),
        (simple, dict(fold="yes"), "fold='yes' must be None or True or False"),
        (lambda: simple(total_size=None), dict(objective="iwae"), "'zs' has no density for each datum.*total_size=N"),
        (lambda: simple(observed_size=None), dict(objective="iwae"), "'xs_' has no density for each datum"),
        (lambda: simple(potential=True), dict(objective="iwae"), "'penalty' has no density for each datum"),
        (lambda: simple(observed_size=2 * N), dict(objective="iwae"), "needs one total_size"),
        (lambda: WithGlobal().inference.objective, dict(fold=True), "fold=True: each sample of the ELBO has its own"),
    ],
)
def test_options_are_checked_in_one_line(objective, options, match):
    with pytest.raises(ConfigurationError, match=match) as error:
        step_updates(objective(), **options)
    assert "\n" not in str(error.value)


def test_iwae_needs_a_local_variable():
    with pm.Model() as model:
        pm.Normal("x", pm.Normal("mu", 0, 1), 1, observed=np.ones(3, "float32"), total_size=N)
    with pytest.raises(ConfigurationError, match="needs a local latent variable"):
        step_updates(pm.ADVI(model=model).objective, objective="iwae")


def test_obj_n_mc_is_the_number_of_samples(toy):
    noise = theano.shared(noise_of(3))
    (local,) = [group for group in toy.inference.approx.groups if group.local]
    given = {toy.xs: theano.shared(toy.x), local.symbolic_initial: noise}
    losses = [
        step_updates(toy.inference.objective, more_obj_params=toy.params, more_replacements=given, **{name: 3})[0]
        for name in ("obj_n_mc", "n_samples")
    ]
    assert theano.gof.graph.is_same_graph(*losses)


def test_other_methods_refuse_our_options():
    with pm.Model():
        pm.Normal("mu", 0, 1)
        with pytest.raises(
            ConfigurationError, match="method='svgd' runs through .*, which does not take kl, n_samples: "
        ):
            fastvae.fit(1, method="svgd", n_samples=2, kl="analytic")


def test_both_fits_take_the_options():
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
    images = np.random.default_rng(0).random((20, 1, 4, 4), dtype="float32")
    options = dict(objective="iwae", n_samples=3, estimator="dreg", kl_weight=schedules.linear(0.1, 1, 10))
    rate = schedules.cosine(1e-2, 1e-4, 10)
    approx = vae.fit(images, 4, batch_size=5, learning_rate=rate, seed=1, progressbar=False, **options)
    assert np.isfinite(approx.hist).all()
    model, local_rv, xs = vae_model(vae, 5, 20)
    approx = fastvae.fit(
        4, local_rv, model=model, progressbar=False, more_obj_params=vae.get_params(), kl="analytic", obj_n_mc=3,
        more_replacements={xs: fastvae.Minibatch(images, 5)}, obj_optimizer=fastvae.adam(learning_rate=rate),
    )  # fmt: skip
    assert np.isfinite(approx.hist).all()
