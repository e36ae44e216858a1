"""All likelihoods: log-densities against scipy, gradients against finite differences of it, draws, and training."""

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats
import theano
import theano.tensor as tt
from theano.compile import Mode
from theano.gof.vm import VM_Linker

import fastvae
from fastvae import renamed
from fastvae.elbo import step_updates, vae_model
from fastvae.elbo.rowwise import first_mixing
from fastvae.errors import ConfigurationError, DataError
from fastvae.likelihoods import Bernoulli, DiscretizedLogistic, Likelihood, LowRankNormal, Normal
from tests.conftest import runs_in_python
from tests.distributions.cases import CASES, LEVELS
from tests.on_devices import on_every_device


@on_every_device
@pytest.mark.parametrize("name", CASES)
def test_log_density_and_gradient_of_colour_images(name, functions):
    likelihood, oracle = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.choice([0, 1] if name == "bernoulli" else LEVELS, size=(2, 3, 2, 4)).astype("float32")
    x[0, 0, 0, :2] = 0, 1
    output = rng.normal(0, 1, size=(2, *likelihood.output_shape((3, 2, 4)))).astype("float32")
    nats, gradient, mean = functions(name)(x, output)
    assert nats.dtype == gradient.dtype == mean.dtype == np.float32
    assert mean.shape == x.shape
    np.testing.assert_allclose(nats, oracle(x, output.astype(float)), rtol=2e-4, atol=2e-4)
    step = 1e-5
    for index in rng.integers(output.size, size=20):
        index = np.unravel_index(index, output.shape)
        up, down = output.astype(float), output.astype(float)
        up[index], down[index] = up[index] + step, down[index] - step
        slope = (oracle(x, up) - oracle(x, down)).sum() / (2 * step)
        assert gradient[index] == pytest.approx(slope, rel=1e-3, abs=1e-4)


@on_every_device
@pytest.mark.parametrize("name", CASES)
def test_draws_have_the_probabilities_and_the_mean(name, functions):
    likelihood, n = CASES[name][0], 5000
    output = np.random.default_rng(3).normal(0, 1, size=(1, *likelihood.output_shape((1, 1, 2)))).astype("float32")
    drawn = likelihood.sample(output.repeat(n, axis=0), seed=1)
    assert drawn.dtype == np.float32 and drawn.shape == (n, 1, 1, 2)
    assert np.array_equal(drawn, likelihood.sample(output.repeat(n, axis=0), seed=1))
    if likelihood.discrete:
        levels = np.array([0, 1]) if name == "bernoulli" else LEVELS
        images = np.broadcast_to(levels[:, None, None, None], (len(levels), 1, 1, 2)).astype("float32")
        nats, _, mean = functions(name)(images, output.repeat(len(levels), axis=0))
        for pixel in range(2):
            p = np.exp(nats[:, 0, 0, pixel].astype(float))
            found = (drawn[:, 0, 0, pixel, None] == images[:, 0, 0, pixel]).sum(axis=0)
            assert found.sum() == n  # nothing but levels
            often = n * p >= 5
            expected = np.append(n * p[often], n - n * p[often].sum() + 1e-9)
            assert scipy.stats.chisquare(np.append(found[often], found[~often].sum()), expected).pvalue > 1e-3
    else:
        mean = functions(name)(drawn[:1], output)[2]
    error = drawn.std(axis=0) / np.sqrt(n)
    assert (np.abs(drawn.mean(axis=0) - mean[0]) < 5 * error + 1 / 510).all()


def test_outputs_that_are_not_the_decoders_are_refused_by_sample():
    with pytest.raises(DataError, match=r"Bernoulli.sample: output: found shape \(3,\): give \(batch, channels, rows"):
        Bernoulli().sample(np.zeros(3, "float32"))
    with pytest.raises(DataError, match="Bernoulli.sample: output is nan at"):
        Bernoulli().sample(np.full((1, 1, 1, 1), np.nan, "float32"))


@pytest.mark.parametrize("likelihood, channels", [(LowRankNormal(rank=2), 5), (DiscretizedLogistic(), 3)])
def test_outputs_that_are_not_of_whole_images_are_refused_by_sample(likelihood, channels):
    with pytest.raises(
        DataError, match=rf"output: found shape \(1, {channels}, 2, 2\): give {likelihood.n_outputs} chan"
    ):
        likelihood.sample(np.zeros((1, channels, 2, 2), "float32"))


class Poisson(Likelihood):
    """A user's likelihood from before `as_data` and `output_shape`."""

    name, n_outputs = "poisson", 1

    def mean(self, output):
        return tt.exp(output)

    def log_prob(self, x, output):
        return x * output - tt.exp(output) - tt.gammaln(x + 1)


class Total(Poisson):
    """Its log-density is that of the whole batch."""

    def log_prob(self, x, output):
        return super().log_prob(x, output).sum()


@on_every_device
def test_a_log_density_of_all_images_together_trains_but_is_refused_where_images_are_judged_one_by_one():
    images = np.random.default_rng(0).random((4, 1, 2, 2)).astype("float32")
    fits = {}
    for kind in (Poisson, Total):
        vae = fastvae.MLPVAE(image_shape=(1, 2, 2), hidden=2, likelihood=kind(), seed=0)
        fits[kind] = vae.fit(images, n=2, batch_size=2, seed=1, progressbar=False).hist
    np.testing.assert_allclose(fits[Total], fits[Poisson], rtol=1e-5)
    with pytest.raises(ConfigurationError, match="the log-density of 'xs_' is one number for all data"):
        fastvae.evaluation.elbo(vae, images)


def test_a_users_likelihood_with_the_former_names_goes_on():
    with pytest.warns(renamed.RenamedWarning, match="Counts.held_out_images is now Counts.as_data"):

        class Counts(Poisson):
            n_outputs = 2

            def held_out_images(self, images, seed):
                return images * 255

    assert Counts().as_data(np.ones(1), 1) == 255 and Counts().output_shape((3, 4, 5)) == (6, 4, 5)
    assert fastvae.MLPVAE(image_shape=(1, 2, 2), likelihood=Counts()).stages[-1].output_shape == (2, 2, 2)
    with pytest.warns(renamed.RenamedWarning, match="Poisson.held_out_images is now Poisson.as_data"):
        assert Poisson().held_out_images("images", 1) == "images"


def test_the_former_name_works_wherever_it_is_defined():
    def doubled(self, images, seed):
        return 2 * images

    class Mixin:
        held_out_images = doubled

    with pytest.warns(renamed.RenamedWarning, match="is now"):

        class Super(Bernoulli):
            def held_out_images(self, images, seed):
                return 3 * super().held_out_images(images, seed)

        class Twice(Super):
            def held_out_images(self, images, seed):
                return 5 * super().held_out_images(images, seed)

        class Both(Bernoulli):
            def as_data(self, images, seed):
                return 7 * super().as_data(images, seed)

            held_out_images = doubled

        class Mixed(Mixin, Bernoulli):
            pass

        class New(Mixin, Bernoulli):
            def as_data(self, images, seed):
                return 11 * super().as_data(images, seed)

        class Later(Bernoulli):
            pass

        Later.held_out_images = doubled
        of_instance = Bernoulli()
        of_instance.held_out_images = lambda images, seed: 13 * images
        ones = np.ones((1, 1, 1, 1), "float32")
        found = [
            of_instance.as_data(ones, 1),
            *(cls().as_data(ones, 1) for cls in (Super, Twice, Both, Mixed, New, Later)),
        ]
        assert [int(value) for value in np.ravel(found)] == [13, 3, 15, 7, 2, 22, 2]
        former = [cls().held_out_images(ones, 1).item() for cls in (Bernoulli, Twice, Both, Mixed, New)]
        assert former == [1, 15, 2, 2, 22]


def convolutions(step):
    return sum("Conv" in type(node.op).__name__ for node in step.maker.fgraph.toposort())


def compiled_step(vae, images, batch=4, kl="monte-carlo", mode=None):
    model, local_rv, xs = vae_model(vae, batch, len(images))
    loss, updates = step_updates(
        pm.ADVI(model=model, local_rv=local_rv).objective,
        obj_optimizer=fastvae.adam(learning_rate=1e-2),
        more_obj_params=vae.get_params(),
        more_replacements={xs: fastvae.Minibatch(images, batch, binarize=vae.likelihood.binarizes_batches)},
        kl=kl,
    )
    return theano.function([], loss, updates=updates, mode=mode)


@pytest.mark.parametrize("name", CASES)
def test_samples_may_be_folded_into_the_batch(name):
    vae = fastvae.MLPVAE(image_shape=(3, 2, 2), hidden=3, likelihood=CASES[name][0])
    x, z = tt.tensor4("x", dtype="float32"), tt.matrix("z", dtype="float32")
    assert first_mixing([vae.likelihood.log_prob(x, vae.decode_output(z))], [x, z]) is None


@pytest.fixture(scope="module")
def seed_convolutions(images):
    return convolutions(compiled_step(fastvae.ConvVAE(image_shape=(1, 10, 10), filters=3, hidden=4, seed=1), images))


def stays_on_the_fast_path(step, seed_convolutions):
    assert convolutions(step) == seed_convolutions > 0
    assert [v for node in step.maker.fgraph.toposort() for v in node.outputs if v.dtype == "float64"] == []
    assert runs_in_python(step) == []


def comes_back(vae, path):
    vae.save(path)
    same = fastvae.load(path)
    assert repr(same.likelihood) == repr(vae.likelihood) and same.posterior.name == vae.posterior.name
    for one, other in zip(vae.get_params(), same.get_params(), strict=True):
        assert np.array_equal(one.get_value(), other.get_value())
    shown = same.sample(3, seed=1)
    assert shown.shape == (3, 1, 10, 10) and 0 <= shown.min() and shown.max() <= 1
    np.testing.assert_allclose(shown, vae.sample(3, seed=1), rtol=1e-5, atol=1e-6)


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
    stays_on_the_fast_path(step, seed_convolutions)
    first = np.mean([step() for _ in range(3)])
    for _ in range(100):
        step()
    assert np.mean([step() for _ in range(3)]) < first
    comes_back(vae, tmp_path / "vae.npz")


@pytest.mark.parametrize("likelihood", ["beta-binomial", LowRankNormal(rank=1)])
def test_so_does_the_step_of_one_whose_c_code_takes_long_to_compile(likelihood, images, seed_convolutions, tmp_path):
    """It is not compiled; that they learn, `test_beta_binomial.py` and `test_low_rank_normal.py` show."""
    vae = fastvae.ConvVAE(image_shape=(1, 10, 10), filters=3, hidden=4, likelihood=likelihood, seed=1)
    in_python = Mode(linker=VM_Linker(use_cloop=False, c_thunks=False), optimizer=theano.config.optimizer)
    stays_on_the_fast_path(compiled_step(vae, images, mode=in_python), seed_convolutions)
    comes_back(vae, tmp_path / "vae.npz")


@on_every_device
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
