import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae import elbo
from fastvae.errors import ConfigurationError, DataError
from fastvae.training.held_out import HeldOutElbo, _checked
from tests.on_devices import on_every_device

RNG = np.random.default_rng(0)
IMAGES = RNG.random((24, 1, 3, 3)).astype("float32")


@pytest.fixture(scope="module")
def vae():
    return fastvae.MLPVAE(image_shape=(1, 3, 3), hidden=4, seed=1)


@pytest.fixture(scope="module")
def problem(vae):
    model, local_rv, xs = elbo.vae_model(vae, batch_size=8, total_size=100)
    inference = pm.ADVI(model=model, local_rv=local_rv, random_seed=1)
    return inference.objective, xs, {xs: fastvae.Minibatch(IMAGES, 8)}


@pytest.fixture(scope="module")
def held_out(problem):
    objective, xs, replacements = problem
    return HeldOutElbo(objective, {xs: IMAGES}, replacements)


@on_every_device
def test_the_elbo_is_that_of_the_closed_form(vae, problem):
    """Its mean over noise: log-likelihood by sampling, KL to the prior in closed form, both in numpy's float64.

    Each image 400 times, so that the noise of either side is 0.2 %.
    """
    objective, xs, replacements = problem
    held_out = HeldOutElbo(objective, {xs: np.tile(IMAGES, (400, 1, 1, 1))}, replacements)
    mean, rho = (part.eval({x: IMAGES}) for x, part in _encoded(vae))
    sd = np.log1p(np.exp(rho.astype("float64")))
    kl = 0.5 * np.sum(sd**2 + mean**2 - 1 - 2 * np.log(sd), axis=1)
    likelihoods = []
    for _ in range(400):
        decoded = vae.decode_mean((mean + sd * RNG.standard_normal(mean.shape)).astype("float32"))
        error = (IMAGES - decoded).reshape(len(IMAGES), -1) / 0.1
        likelihoods.append(np.sum(-0.5 * error**2 - np.log(0.1 * np.sqrt(2 * np.pi)), axis=1))
    expected = np.mean(likelihoods) - kl.mean()
    assert held_out() == pytest.approx(expected, rel=0.01)


def _encoded(vae):
    import theano.tensor as tt

    x = tt.tensor4(dtype="float32")
    return [(x, part) for part in vae.encode(x)]


@on_every_device
def test_the_noise_is_the_same_each_time(held_out):
    assert held_out() == held_out()


@on_every_device
def test_it_follows_the_parameters(vae, held_out):
    before, bias = held_out(), vae.get_params()[-1]
    value = bias.get_value()
    bias.set_value(value + 1)
    assert held_out() != before
    bias.set_value(value)
    assert held_out() == before


@pytest.mark.parametrize(
    "rows, error, message",
    [
        (lambda xs: IMAGES, ConfigurationError, "held_out='ndarray' must be a dict of rows"),
        (lambda xs: {}, ConfigurationError, "for the same variables as more_replacements={xs}"),
        (lambda xs: {xs: IMAGES[:7]}, DataError, "7 rows for xs are fewer than a minibatch of 8"),
        (lambda xs: {xs: IMAGES[0]}, DataError, r"float32 \(1, 3, 3\), not numbers of \(N, 1, 3, 3\)"),
        (lambda xs: {xs: np.full_like(IMAGES, np.nan)}, DataError, r"is nan at \(0, 0, 0, 0\); every value"),
    ],
)
def test_rows_that_do_not_fit(problem, rows, error, message):
    objective, xs, replacements = problem
    with pytest.raises(error, match=message):
        HeldOutElbo(objective, rows(xs), replacements)


def test_an_array_in_a_shared_variable_has_held_out_rows_too():
    x = tt.fvector("x")
    with pm.Model():
        mu = pm.Normal("mu", 0, 1)
        pm.Normal("x", mu, 1, observed=x)
        for value in (theano.shared(np.ones(5, "float32")), np.ones(5), tt.ones(5, dtype="float32")):
            approx = fastvae.fit(
                2,
                more_replacements={x: value},
                held_out={x: np.ones(10)},
                held_out_every=1,
                progressbar=False,
                random_seed=1,
            )
            assert approx.held_out_hist.shape == (2, 2) and np.isfinite(approx.held_out_hist).all()


BYTES = np.rint(IMAGES * 255).astype("uint8")


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    path = tmp_path_factory.mktemp("held_out") / "x.npy"
    np.save(path, BYTES)
    return path


@on_every_device
def test_bytes_in_memory_and_on_disk_are_scaled_as_the_minibatch_does(problem, on_disk):
    objective, xs, _ = problem
    batch = {xs: fastvae.Minibatch(BYTES, 8, scale=1 / 255)}
    held_out = HeldOutElbo(objective, {xs: BYTES}, batch)
    elbo = held_out()
    for rows in (np.load(on_disk, mmap_mode="r"), BYTES * np.float32(1 / 255)):
        held_out.rows = [_checked(xs, rows, 8, batch[xs])]
        assert held_out() == elbo


def checked(rows, x, **options):
    return np.asarray(_checked(x, rows, 2, fastvae.Minibatch(BYTES, 8, **options)))


@on_every_device
def test_binarised_rows_are_one_draw_in_memory_and_on_disk(problem, on_disk):
    _, xs, _ = problem
    drawn = [checked(rows, xs, scale=1 / 255, binarize=True) for rows in (BYTES, on_disk, str(on_disk))]
    assert set(drawn[0].ravel()) == {0, 1} and drawn[0].dtype == np.float32
    assert np.array_equal(drawn[0], drawn[1]) and np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    "rows, options, message",
    [
        (BYTES, {}, r"found uint8 where float32 is needed: give x / 255"),
        (np.ma.masked_less(IMAGES, 0.5), {}, "found a masked array"),
        (IMAGES[:, :, :2], {}, r"not numbers of \(N, 1, 3, 3\)"),
        (IMAGES.astype(complex), {}, "found complex128"),
    ],
)
def test_rows_of_another_kind_are_refused(problem, rows, options, message):
    with pytest.raises(DataError, match=message):
        checked(rows, problem[1], **options)


def test_a_bad_row_on_disk_is_named(problem, tmp_path):
    images = IMAGES.copy()
    images[17, 0, 1, 2] = np.inf
    np.save(tmp_path / "x.npy", images)
    rows = _checked(problem[1], tmp_path / "x.npy", 2, fastvae.Minibatch(IMAGES, 8))
    with pytest.raises(DataError, match=r"x.npy' is inf at \(17, 0, 1, 2\)"):
        rows[16:24]
