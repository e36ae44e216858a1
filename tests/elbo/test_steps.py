"""On every device five steps are what their graph says: numpy's, on the host, from the same weights, rows and noise."""

import hashlib
import itertools

import fastvae  # isort: skip  (before theano)
import numpy as np
import pymc3 as pm
import pytest
import theano
from theano.sandbox import rng_mrg

from fastvae.elbo import step_updates, vae_model
from fastvae.likelihoods import Bernoulli, DiscretizedLogistic, LowRankNormal, Normal
from tests import cuda_device
from tests.on_devices import on_every_device

AS_WRITTEN = theano.Mode(linker="py", optimizer=None)  # every Op by numpy on the host, whatever the device is
# Without fusion the kernels of one model are those of another, and compiled once.
UNFUSED = theano.compile.get_default_mode().excluding("fusion")
STEPS, BATCH = 5, 4

OBJECTIVES = {
    "elbo": {},
    "analytic": dict(kl="analytic", n_samples=2),
    "iwae": dict(objective="iwae", n_samples=2),
    "dreg": dict(objective="iwae", n_samples=2, estimator="dreg"),
}
LIKELIHOODS = {
    "normal": Normal(learn_sd=True),
    "bernoulli": Bernoulli("dynamic"),
    "categorical": "categorical",
    "logistic": DiscretizedLogistic(components=2),
    "beta-binomial": "beta-binomial",
    "low-rank-normal": LowRankNormal(rank=1),
}
MODELS = {
    "mlp": lambda **options: fastvae.MLPVAE((1, 4, 4), n_latent=2, hidden=3, seed=1, **options),
    "conv": lambda **options: fastvae.ConvVAE((1, 6, 6), n_latent=2, filters=3, hidden=4, seed=1, **options),
}


@pytest.fixture(autouse=True)
def uniforms_in_single_precision(monkeypatch):
    """Theano's Python rounds a uniform number once in float64, its C code and a GPU's round twice in float32."""
    stock = rng_mrg.mrg_next_value

    def mrg_next_value(state, new_state, NORM, **options):  # noqa: N803
        return np.float32(stock(state, new_state, NORM=1, **options)) * NORM

    monkeypatch.setattr(rng_mrg, "mrg_next_value", mrg_next_value)


def compiled(vae, mode, **options):
    """A function of nothing that takes a step, and returns its loss and gradients."""
    images = np.random.default_rng(0).integers(0, 256, (20, *vae.image_shape), dtype="uint8")
    captured = []

    def optimizer(gradients, params):
        captured.extend(gradients)
        return fastvae.adam(gradients, params, learning_rate=1e-3)

    minibatch = fastvae.Minibatch(images, BATCH, seed=1, scale=1 / 255, binarize=vae.likelihood.binarizes_batches)
    model, local_rv, xs = vae_model(vae, BATCH, len(images))
    pm.set_tt_rng(3)
    loss, updates = step_updates(
        pm.ADVI(local_rv=local_rv, model=model).objective,
        obj_optimizer=optimizer,
        more_obj_params=vae.get_params(),
        more_replacements={xs: minibatch},
        total_grad_norm_constraint=options.pop("clip", None),
        **options,
    )
    for each in (AS_WRITTEN, mode):
        yield theano.function([], [loss, *captured], updates=updates, mode=each)


def taken(function):
    """Losses and gradients of some steps, and all that they update, which then is as it was before."""
    updated = [entry.variable for entry in function.maker.inputs if entry.implicit and entry.update is not None]
    before = [variable.get_value() for variable in updated]
    outputs = [[np.asarray(value) for value in function()] for _ in range(STEPS)]
    after = [variable.get_value() for variable in updated]
    for variable, value in zip(updated, before):
        variable.set_value(value)
    return outputs, {f"{i} {variable.name}": value for i, (variable, value) in enumerate(zip(updated, after))}


def distance(one, other):
    assert one.dtype == other.dtype and one.shape == other.shape
    size = np.linalg.norm(other.astype("float64").ravel())
    return np.linalg.norm(one.astype("float64").ravel() - other.ravel()) / (size or 1)


def are_as_written(vae, mode, **options):
    # A log weight of hundreds is rounded to 1e-5, and by some of that its image's share in small gradients is off.
    limit = 3e-4 if options.get("objective") == "iwae" else 1e-4
    (expected, expected_state), (found, state) = map(taken, compiled(vae, mode, **options))
    for (loss, *gradients), (expected_loss, *expected_gradients) in zip(found, expected):
        assert distance(loss, expected_loss) < 1e-5
        for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
            assert distance(gradient, expected_gradient) < limit
    assert state.keys() == expected_state.keys() and len(state) > len(vae.get_params())
    for name, value in state.items():  # parameters, Adam's moments, random states and counters
        assert distance(value, expected_state[name]) < limit, name


@on_every_device
@pytest.mark.parametrize("model", MODELS)
def test_seed_models(model):
    are_as_written(MODELS[model](), None)


@on_every_device
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("posterior", ["mean-field", "full-covariance"])
def test_objectives(objective, posterior):
    are_as_written(MODELS["mlp"](posterior=posterior), UNFUSED, clip=100.0, **OBJECTIVES[objective])


@on_every_device
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihoods(likelihood):
    are_as_written(MODELS["mlp"](likelihood=LIKELIHOODS[likelihood]), UNFUSED)


@pytest.fixture(scope="module")
def in_order(cuda_process):
    return cuda_process("tests.elbo.test_steps")


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(3, 22))])
def test_every_order_of_threads_has_the_same_bits(seed, in_order, cuda_process):
    assert cuda_process("tests.elbo.test_steps", TEST_DEVICE_ORDER=str(seed)) == in_order


@pytest.mark.exhaustive
@on_every_device
@pytest.mark.parametrize(
    "model, likelihood, posterior, objective",
    itertools.product(MODELS, LIKELIHOODS, ["mean-field", "full-covariance"], OBJECTIVES),
)
def test_all_combinations(model, likelihood, posterior, objective):
    vae = MODELS[model](likelihood=LIKELIHOODS[likelihood], posterior=posterior)
    are_as_written(vae, UNFUSED, **OBJECTIVES[objective])


def digest():
    """Of all that the steps of both models return and change."""
    found = hashlib.sha256()
    for make in MODELS.values():
        _, function = compiled(make(), None)
        outputs, state = taken(function)
        for array in itertools.chain(*outputs, state.values()):
            found.update(array.tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    cuda_device.without_host_code()
    print(digest())
