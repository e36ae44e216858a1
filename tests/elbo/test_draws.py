"""Samples in the batch axis or in copies: the same loss, the encoder once, and folded only where that is right."""

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae import schedules
from fastvae.elbo import step_updates, vae_model
from fastvae.elbo.merge import merge_equal_nodes
from tests.linear_gaussian import LATENT, B, N, evaluate, loss_and_gradients, noise_of

CONVOLUTIONS = ("Convolution", "Conv", "ConvTransposed", "ConvWeightsGradient", "CorrMM", "CorrMM_gradWeights")
CONVOLUTIONS += ("CorrMM_gradInputs",)


class Steps:
    """Compiled steps of a small convolutional VAE, on the active profile."""

    def __init__(self):
        self.vae = fastvae.ConvVAE(image_shape=(1, 12, 12), filters=4, hidden=8, seed=3)
        self.images = theano.shared(np.random.default_rng(0).random((B, 1, 12, 12), dtype="float32"))

    def compiled(self, stock=False, **options):
        model, local_rv, xs = vae_model(self.vae, B, N)
        objective, params = pm.ADVI(model=model, local_rv=local_rv).objective, self.vae.get_params()
        given = dict(more_obj_params=params, more_replacements={xs: self.images})
        optimizer = fastvae.adam(learning_rate=1e-3)
        with theano.change_flags(on_opt_error="raise"):
            if stock:
                with theano.change_flags(compute_test_value="off"):
                    (loss,) = merge_equal_nodes([objective(None, **given)])
                    updates = optimizer(theano.grad(loss, params), params)
            else:
                loss, updates = step_updates(objective, obj_optimizer=optimizer, **given, **options)
            return theano.function([], loss, updates=updates)


@pytest.fixture(scope="module")
def steps():
    return Steps()


def nodes(step):
    return step.maker.fgraph.toposort()


def convolutions(step):
    return sum(type(node.op).__name__ in CONVOLUTIONS for node in nodes(step))


def check_ops(step):
    assert not [v for node in nodes(step) for v in node.outputs if v.dtype == "float64"]
    assert not any(isinstance(node.op, theano.scan_module.scan_op.Scan) for node in nodes(step))


def test_one_sample_takes_no_node_more_than_stock(steps):
    ours, stock = steps.compiled(), steps.compiled(stock=True)
    check_ops(ours)
    assert len(nodes(ours)) <= len(nodes(stock))
    assert convolutions(ours) == convolutions(stock) == 17


@pytest.mark.parametrize(
    "options, expected",
    [
        # Encoder: 3 forward, 3 of weights, 2 of data. Decoder: 3 of each.
        (dict(n_samples=3, kl="analytic"), 8 + 9),
        (dict(n_samples=3, objective="iwae", estimator="dreg"), 8 + 9),
        (dict(n_samples=3, objective="iwae", fold=False), 8 + 3 * 9),
    ],
    ids=["elbo", "dreg", "unrolled"],
)
def test_the_encoder_runs_once_and_only_the_decoder_is_unrolled(steps, options, expected):
    step = steps.compiled(**options, kl_weight=schedules.linear(0, 1, 10))
    check_ops(step)
    assert convolutions(step) == expected
    assert np.isfinite(step())


def folding(build, caplog, replacements=None):
    """Whether three samples of `build(zs, xs)`, the likelihood's mean, are folded; and the log."""
    xs = tt.fmatrix("xs")
    with pm.Model() as model:
        zs = pm.Normal("zs", 0, 1, shape=(B, LATENT), dtype="float32", total_size=N)
        pm.Normal("xs_", build(zs), 1, observed=xs, total_size=N)
    rho = theano.shared(np.zeros((B, LATENT), "float32"))
    inference = pm.ADVI(model=model, local_rv={zs: dict(mu=xs[:, :LATENT], rho=rho)})
    images = np.random.default_rng(0).random((B, LATENT), dtype="float32")
    given = {xs: theano.shared(images), **(replacements or {})}
    noise = noise_of(3)
    losses = {
        fold: loss_and_gradients(inference, [rho], given, noise, n_samples=3, fold=fold)[0] for fold in (None, False)
    }
    copies = {
        fold: sum(node.op == tt.nnet.sigmoid for node in theano.gof.graph.io_toposort([], [loss]))
        for fold, loss in losses.items()
    }
    a, b = evaluate(list(losses.values()))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert (copies[None] < copies[False]) == (not caplog.text)
    return copies[None] < copies[False], caplog.text


def test_a_model_that_follows_its_rows_is_folded(caplog):
    weight = theano.shared(np.ones((LATENT, LATENT), "float32"))
    assert folding(lambda z: tt.nnet.sigmoid(tt.dot(z, weight)).reshape((z.shape[0], LATENT)), caplog)[0]


@pytest.mark.parametrize(
    "build, op",
    [
        (lambda z: tt.nnet.sigmoid(z).reshape((B, LATENT)), "Reshape"),
        (lambda z: tt.nnet.sigmoid(z - z.mean(axis=0)), "Sum{axis=[0]"),
        (lambda z: tt.nnet.sigmoid(z) + theano.shared(np.ones((B, LATENT), "float32")), "add"),
    ],
    ids=["fixed shape", "batch normalisation", "a constant a row"],
)
def test_a_model_that_does_not_is_copied_and_the_log_says_why(build, op, caplog):
    folded, log = folding(build, caplog)
    assert not folded and op in log and "copied for each of the 3 samples" in log


def test_labels_from_a_minibatch_follow_their_images(caplog):
    labels = tt.fmatrix("labels")
    batch = fastvae.Minibatch(np.ones((N, LATENT), "float32"), B)
    assert folding(lambda z: tt.nnet.sigmoid(z + labels), caplog, {labels: batch})[0]
