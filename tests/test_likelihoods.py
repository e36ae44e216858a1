"""Log-densities against scipy and exact arithmetic, gradients against finite differences of float64 oracles."""

import decimal

import numpy as np
import pymc3 as pm
import pytest
import scipy.special
import scipy.stats
import theano
import theano.tensor as tt

import fastvae
from fastvae import likelihoods
from fastvae.elbo import step_updates, vae_model
from fastvae.elbo.rowwise import first_mixing
from fastvae.errors import ConfigurationError, DataError
from fastvae.likelihoods import Bernoulli, Categorical, DiscretizedLogistic, Normal
from fastvae.models import vae as vae_module
from tests.conftest import runs_in_python

LEVELS = np.arange(256, dtype=np.float32) / 255


def bernoulli(x, output):
    return x * scipy.special.log_expit(output) + (1 - x) * scipy.special.log_expit(-output)


def categorical(x, output):
    n, _, rows, columns = output.shape
    logits = scipy.special.log_softmax(output.reshape(n, -1, 256, rows, columns), axis=2)
    level = np.rint(255 * x).astype(int)[:, :, None]
    return np.take_along_axis(logits, level, axis=2)[:, :, 0]


def logistic(k):
    def log_prob(x, output):
        n, _, rows, columns = output.shape
        parts = output.reshape(n, -1, 2 if k == 1 else 3 * k, rows, columns)
        centre, scale = parts[:, :, :k], np.exp(np.clip(parts[:, :, k : 2 * k], -7, 7))
        weight = scipy.special.softmax(parts[:, :, 2 * k :], axis=2) if k > 1 else 1.0
        y = 2 * x[:, :, None].astype(float) - 1
        upper = np.where(x[:, :, None] == 1, 1, scipy.special.expit((y + 1 / 255 - centre) / scale))
        lower = np.where(x[:, :, None] == 0, 0, scipy.special.expit((y - 1 / 255 - centre) / scale))
        return np.log((weight * (upper - lower)).sum(axis=2))

    return log_prob


CASES = {
    "normal": (Normal(sd=0.3), lambda x, output: scipy.stats.norm(output, 0.3).logpdf(x)),
    "bernoulli": (Bernoulli(), bernoulli),
    "categorical": (Categorical(), categorical),
    "logistic": (DiscretizedLogistic(), logistic(1)),
    "mixture": (DiscretizedLogistic(components=2), logistic(2)),
}


@pytest.fixture(scope="module")
def functions():
    """For each case log-density, gradient of its sum by the output, and mean image, compiled once."""
    compiled = {}
    for name, (likelihood, _) in CASES.items():
        x, output = tt.tensor4("x", dtype="float32"), tt.tensor4("output", dtype="float32")
        nats = likelihood.log_prob(x, output)
        results = [nats, tt.grad(nats.sum(), output), likelihood.mean(output)]
        compiled[name] = theano.function([x, output], results, on_unused_input="ignore")
    return compiled


@pytest.mark.parametrize("name", CASES)
def test_log_density_and_gradient_of_colour_images(name, functions):
    likelihood, oracle = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.choice([0, 1] if name == "bernoulli" else LEVELS, size=(2, 3, 2, 4)).astype("float32")
    x[0, 0, 0, :2] = 0, 1
    output = rng.normal(0, 1, size=(2, 3 * likelihood.n_outputs, 2, 4)).astype("float32")
    nats, gradient, mean = functions[name](x, output)
    assert nats.dtype == gradient.dtype == mean.dtype == np.float32
    assert nats.shape == mean.shape == x.shape
    np.testing.assert_allclose(nats, oracle(x, output.astype(float)), rtol=2e-4, atol=2e-4)
    step = 1e-5
    for index in rng.integers(output.size, size=20):
        index = np.unravel_index(index, output.shape)
        up, down = output.astype(float), output.astype(float)
        up[index], down[index] = up[index] + step, down[index] - step
        slope = (oracle(x, up) - oracle(x, down)).sum() / (2 * step)
        assert gradient[index] == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("scale", [1, 30, 1000])
@pytest.mark.parametrize("name", ["categorical", "logistic", "mixture"])
def test_the_256_levels_have_all_the_mass_and_the_mean_is_theirs(name, scale, functions):
    rng = np.random.default_rng(scale)
    output = rng.normal(0, scale, size=(1, CASES[name][0].n_outputs, 1, 1)).astype("float32").repeat(256, axis=0)
    nats, gradient, mean = functions[name](LEVELS.reshape(256, 1, 1, 1), output)
    mass = np.exp(nats.ravel().astype(float))
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    assert mean[0, 0, 0, 0] == pytest.approx((mass * LEVELS).sum(), abs=1e-5 if name == "categorical" else 1 / 510)
    assert np.isfinite(nats).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("logit", [-1e4, -100, -20, 0, 20, 100, 1e4])
def test_bernoulli_far_out(logit, functions):
    x = np.array([0, 1], "float32").reshape(2, 1, 1, 1)
    nats, gradient, mean = functions["bernoulli"](x, np.full((2, 1, 1, 1), logit, "float32"))
    p = scipy.special.expit(float(logit))
    np.testing.assert_allclose(nats.ravel(), bernoulli(x.ravel(), float(logit)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gradient.ravel(), [-p, 1 - p], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(mean.ravel(), p, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("centre, log_scale", [(100, -100), (-100, 0), (0.5, -6), (0, 50), (3, -3)])
def test_logistic_far_out_equals_exact_arithmetic(centre, log_scale, functions):
    def sigmoid(value):
        return 1 / (1 + (-value).exp())

    decimal.getcontext().prec = 300
    d = decimal.Decimal
    scale, x = d(min(max(log_scale, -7), 7)).exp(), LEVELS[[0, 1, 128, 254, 255]].reshape(5, 1, 1, 1)
    output = np.array([centre, log_scale], "float32").reshape(1, 2, 1, 1).repeat(5, axis=0)
    nats, gradient, _ = functions["logistic"](x, output)
    for level, value in zip((0, 1, 128, 254, 255), nats.ravel()):
        upper = sigmoid((d(2 * level + 1) / 255 - 1 - d(centre)) / scale) if level < 255 else d(1)
        lower = sigmoid((d(2 * level - 1) / 255 - 1 - d(centre)) / scale) if level > 0 else d(0)
        exact = float((upper - lower).ln()) if upper > lower else -np.inf
        assert value == pytest.approx(exact, rel=1e-4, abs=1e-4) or exact < -600
    assert np.isfinite(nats).all() and np.isfinite(gradient).all()


def test_held_out_images_are_one_draw_of_0_and_1():
    images = np.broadcast_to(np.array([0, 0.3, 1], "float32"), (2000, 1, 1, 3)).copy()
    drawn = Bernoulli().as_data(images, seed=3)
    assert drawn.dtype == np.float32 and set(np.unique(drawn)) == {0, 1}
    assert (drawn[..., 0] == 0).all() and (drawn[..., 2] == 1).all()
    assert abs(drawn[..., 1].mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 2000)
    assert np.array_equal(drawn, Bernoulli("static").as_data(images, seed=3))
    assert Normal().as_data(images, seed=3) is images


def convolutions(step):
    return sum("Conv" in type(node.op).__name__ for node in step.maker.fgraph.toposort())


def compiled_step(vae, images, batch=4, kl="monte-carlo"):
    model, local_rv, xs = vae_model(vae, batch, len(images))
    loss, updates = step_updates(
        pm.ADVI(model=model, local_rv=local_rv).objective,
        obj_optimizer=fastvae.adam(learning_rate=1e-2),
        more_obj_params=vae.get_params(),
        more_replacements={xs: fastvae.Minibatch(images, batch, binarize=vae.likelihood.binarizes_batches)},
        kl=kl,
    )
    return theano.function([], loss, updates=updates)


@pytest.mark.parametrize("name", CASES)
def test_samples_may_be_folded_into_the_batch(name):
    vae = fastvae.MLPVAE(image_shape=(3, 2, 2), hidden=3, likelihood=CASES[name][0])
    x, z = tt.tensor4("x", dtype="float32"), tt.matrix("z", dtype="float32")
    assert first_mixing([vae.likelihood.log_prob(x, vae.decode_output(z))], [x, z]) is None


@pytest.fixture(scope="module")
def images():
    return fastvae.datasets.load("fashion-mnist-sample")[:8, :, 8:18, 8:18].copy()


@pytest.fixture(scope="module")
def seed_convolutions(images):
    return convolutions(compiled_step(fastvae.ConvVAE(image_shape=(1, 10, 10), filters=3, hidden=4, seed=1), images))


@pytest.mark.parametrize(
    "likelihood, posterior, kl",
    [
        (Normal(learn_sd=True), "full-covariance", "monte-carlo"),
        ("bernoulli", "full-covariance", "analytic"),
        ("categorical", "mean-field", "monte-carlo"),
        (DiscretizedLogistic(components=2), "mean-field", "analytic"),
    ],
)
def test_the_step_stays_on_the_fast_path_and_the_model_comes_back(
    likelihood, posterior, kl, images, seed_convolutions, tmp_path
):
    options = dict(image_shape=(1, 10, 10), filters=3, hidden=4, likelihood=likelihood, posterior=posterior)
    vae = fastvae.ConvVAE(**options, seed=1)
    step = compiled_step(vae, images, kl=kl)
    nodes = step.maker.fgraph.toposort()
    assert convolutions(step) == seed_convolutions > 0
    assert [v for node in nodes for v in node.outputs if v.dtype == "float64"] == []
    assert runs_in_python(step) == []
    first = np.mean([step() for _ in range(3)])
    for _ in range(100):
        step()
    assert np.mean([step() for _ in range(3)]) < first
    vae.save(tmp_path / "vae.npz")
    same = fastvae.load(tmp_path / "vae.npz")
    assert repr(same.likelihood) == repr(vae.likelihood) and same.posterior.name == posterior
    for one, other in zip(vae.get_params(), same.get_params(), strict=True):
        assert np.array_equal(one.get_value(), other.get_value())
    shown = same.sample(3, seed=1)
    assert shown.shape == (3, 1, 10, 10) and 0 <= shown.min() and shown.max() <= 1
    np.testing.assert_allclose(shown, vae.sample(3, seed=1), rtol=1e-5, atol=1e-6)


def test_fit_learns_the_sd(images):
    vae = fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=4, likelihood=Normal(learn_sd=True), seed=1)
    vae.fit(images, n=2, batch_size=4, seed=1, progressbar=False)
    assert vae.likelihood.log_sd.get_value() != np.float32(np.log(0.1))


@pytest.mark.parametrize("binarize", ["dynamic", "static"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_fit_binarises(binarize, dtype, images, monkeypatch):
    vae = fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=4, likelihood=Bernoulli(binarize), seed=1)
    seen, minibatch = [], fastvae.Minibatch
    monkeypatch.setattr(vae_module, "Minibatch", lambda *args, **kw: seen.append(minibatch(*args, **kw)) or seen[-1])
    monkeypatch.setattr(vae_module.training, "fit", lambda *args, **kwargs: None)
    vae.fit(images if dtype == "float32" else np.rint(255 * images).astype("uint8"), batch_size=400, seed=1)
    draws = theano.function([], seen[0])() if dtype == "float32" else seen[0].eval()
    assert draws.dtype == np.float32 and set(np.unique(draws)) == {0, 1}
    distinct = len(np.unique(draws.reshape(400, -1), axis=0))  # of eight images
    assert distinct == 8 if binarize == "static" else distinct > 300


def test_a_parameter_file_from_before_likelihoods_loads(images, tmp_path, monkeypatch):
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=3, seed=1)
    vae.config = {name: vae.config[name] for name in ("image_shape", "n_latent", "hidden")}
    vae.save(tmp_path / "old.npz")
    old = fastvae.load(tmp_path / "old.npz")
    assert repr(old.likelihood) == "Normal(sd=0.1, learn_sd=False)" and old.posterior.name == "mean-field"


def test_two_models_do_not_share_a_learned_sd():
    likelihood = Normal(learn_sd=True)
    models = [fastvae.MLPVAE(image_shape=(1, 2, 2), hidden=2, likelihood=likelihood) for _ in range(2)]
    assert len({id(param) for model in models for param in model.likelihood.get_params()}) == 2


def test_values_between_the_levels_are_refused(images):
    vae = fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=2, likelihood="categorical")
    with pytest.raises(DataError, match="MLPVAE.fit: .*'categorical' is of the 256 levels.* give uint8 images"):
        vae.fit(images * np.float32(0.99), n=1)


@pytest.mark.parametrize("likelihood", ["normal", Bernoulli("dynamic"), Bernoulli("static")])
@pytest.mark.parametrize("dtype", ["bool", ">f2"])
def test_images_on_disk_train_as_in_memory(likelihood, dtype, images, tmp_path):
    array = np.rint(images).astype(dtype) if dtype == "bool" else images.astype(dtype)
    np.save(tmp_path / "images.npy", array)
    losses = []
    for data in (array, np.load(tmp_path / "images.npy", mmap_mode="r")):
        vae = fastvae.MLPVAE(image_shape=(1, 10, 10), hidden=2, likelihood=likelihood, seed=1)
        approx = vae.fit(data, n=3, batch_size=4, seed=1, progressbar=False, held_out=data, held_out_every=3)
        losses.append([*approx.hist, *approx.held_out_hist.ravel()])
    assert losses[0] == losses[1]


def test_rows_on_disk_between_the_levels_are_refused_by_number(tmp_path):
    array = np.zeros((5, 4, 4), "float32")
    array[3, 0, 0] = 0.3
    np.save(tmp_path / "floats.npy", array)
    rows = fastvae.MLPVAE(image_shape=(1, 4, 4), likelihood="categorical").training_images(
        fastvae.on_disk(tmp_path / "floats.npy"), "fit"
    )
    assert not rows[:3].any()
    with pytest.raises(DataError, match="floats.npy', row 3: .*'categorical' .* give uint8 images"):
        rows[np.array([0, 3, 4])]


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
