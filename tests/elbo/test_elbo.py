"""The objective and its gradients against stock PyMC3 in a process that never imports fastvae."""

import sys

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae.backends.abstract.conv import ConvWeightsGradient
from fastvae.elbo import objective, rowwise, step_updates, vae_model
from fastvae.errors import ConfigurationError
from tests.conftest import stock_flags

BATCH, TOTAL, SIZE = 14, 56, 20  # enough for Winograd's kernel to take the 3x3 convolutions


def problem(kind):
    """A small seed model, images with black borders, three draws of noise, (3, BATCH, n_latent).

    With the third, one input of a ReLU is so near 0 (4e-9, where 5e-3 is usual) that Winograd's rounding moves it to
    the other side; the gradient then differs by 3e-4.
    """
    rng = np.random.default_rng(0)
    images = np.zeros((BATCH, 1, SIZE, SIZE), dtype="float32")
    images[:, :, 6:14, 6:14] = rng.random((BATCH, 1, 8, 8))
    if kind == "conv":
        vae = fastvae.ConvVAE(image_shape=(1, SIZE, SIZE), filters=32, hidden=8, seed=3)
    else:
        vae = fastvae.MLPVAE(image_shape=(1, SIZE, SIZE), hidden=8, seed=3)
    return vae, images, rng.standard_normal((3, BATCH, vae.n_latent)).astype("float32")


def objective_of(vae, images, noise, **options):
    """Loss and gradients of fastvae's step, and the updates, on given images and noise."""
    model, local_rv, xs = vae_model(vae, BATCH, TOTAL)
    inference = pm.ADVI(model=model, local_rv=local_rv)
    (local,) = [group for group in inference.approx.groups if group.local]
    captured = {}

    def capture(gradients, params):
        captured.update(zip(params, gradients))
        return pm.updates.sgd(gradients, params, learning_rate=1e-3)

    loss, updates = step_updates(
        inference.objective,
        obj_optimizer=capture,
        more_obj_params=vae.get_params(),
        more_replacements={xs: theano.shared(images), local.symbolic_initial: theano.shared(noise)},
        n_samples=len(noise),
        **options,
    )
    return loss, [captured[param] for param in vae.get_params()], updates


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_loss_and_all_gradients_equal_stock_pymc3(kind, run, tmp_path):
    vae, images, noise = problem(kind)
    weights = [param.get_value() for param in vae.get_params()]
    np.savez(
        tmp_path / "problem.npz",
        images=images,
        noise=noise,
        kind=kind,
        total_size=TOTAL,
        maps=(32, 16, 16),
        n_weights=len(weights),
        **{f"weight{i}": weight for i, weight in enumerate(weights)},
    )
    command = (sys.executable, "-W", "ignore", "-m", "tests.stock_objective", "problem.npz", "answer.npz")
    done = run(*command, flags=stock_flags())
    assert done.returncode == 0, done.stderr
    answer = np.load(tmp_path / "answer.npz")

    if kind == "conv":
        assert answer["zeros"] >= 0.2  # so that the gradient of ReLU at exactly 0 is seen
    direct = theano.compile.get_default_mode().excluding("fastvae_onednn_winograd")
    for n, fold, mode in ((1, None, None), (2, True, None), (2, False, None), (3, True, direct)):
        loss, gradients, _ = objective_of(vae, images, noise[:n], fold=fold)
        value, *ours = theano.function([], [loss, *gradients], mode=mode)()
        np.testing.assert_allclose(value, answer["loss"][:n].mean(), rtol=1e-5)
        for i, (param, gradient) in enumerate(zip(vae.get_params(), ours)):
            expected = answer[f"grad{i}"][:n].mean(axis=0)
            assert np.linalg.norm(gradient - expected) <= 1e-5 * np.linalg.norm(expected), (n, fold, param.name)


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_no_float64_node_in_the_compiled_step(kind):
    vae, images, noise = problem(kind)
    loss, _, updates = objective_of(vae, images, noise[:1])
    step = theano.function([], loss, updates=updates)
    wide = [var for node in step.maker.fgraph.toposort() for var in node.outputs if var.dtype == "float64"]
    assert wide == []


def test_the_encoder_is_differentiated_once():
    vae, images, noise = problem("conv")
    loss, _, updates = objective_of(vae, images, noise[:1])
    nodes = theano.gof.graph.io_toposort([], [loss, *updates.values()])
    assert sum(isinstance(node.op, ConvWeightsGradient) for node in nodes) == 6  # three layers in each half


def test_the_loss_is_the_elbo_written_by_hand():
    vae, images, noise = problem("mlp")
    loss = theano.function([], objective_of(vae, images, noise[:1])[0])()
    mean, rho = (part.eval() for part in vae.encode(theano.shared(images)))
    sigma = np.log1p(np.exp(rho))
    z = (mean + sigma * noise[0]).astype("float32")
    x_mean = vae.decode_mean(z)

    def normal(x, mu, sd):
        return np.sum(-0.5 * ((x - mu) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi), dtype="float64")

    elbo = normal(images, x_mean, 0.1) + normal(z, 0, 1) - normal(z, mean, sigma)
    np.testing.assert_allclose(-loss, elbo, rtol=1e-4)


def test_nothing_to_train_is_an_error():
    vae, *_ = problem("mlp")
    model, local_rv, _ = vae_model(vae, BATCH, TOTAL)
    with pytest.raises(ConfigurationError, match="nothing to train.*collect_params"):
        step_updates(pm.ADVI(model=model, local_rv=local_rv).objective)


def test_a_parameter_outside_the_loss_is_named():
    vae, images, noise = problem("mlp")
    model, local_rv, xs = vae_model(vae, BATCH, TOTAL)
    stray = theano.shared(np.float32(1), "stray")
    with pytest.raises(ConfigurationError, match="does not depend on 'stray'"):
        step_updates(
            pm.ADVI(model=model, local_rv=local_rv).objective,
            more_obj_params=[*vae.get_params(), stray],
            more_replacements={xs: theano.shared(images)},
        )


def test_a_network_in_float64_is_refused_by_the_half_that_it_is_in():
    class Wide(fastvae.MLPVAE):
        def encode(self, x):
            return [part.astype("float64") for part in super().encode(x)]

    with pytest.raises(ConfigurationError, match="encode returns TensorType.float64, matrix., not a float32"):
        vae_model(Wide(image_shape=(1, 4, 4)), BATCH, TOTAL)


def test_a_surrounding_model_is_left_alone():
    with pm.Model() as surrounding:
        vae_model(problem("mlp")[0], BATCH, TOTAL)
        vae_model(problem("mlp")[0], BATCH, TOTAL)
        assert pm.Model.get_context() is surrounding
    assert not surrounding.named_vars


def spelled_network(rng):
    """Encoder and decoder of 4 pixels in stock Theano, with activations as users spell them, and the parameters."""
    weights = [theano.shared(rng.normal(size=shape).astype("float32")) for shape in ((4, 8), (8, 4), (2, 8), (8, 4))]
    slopes = theano.shared(np.full(8, 0.25, "float32"))

    def encode(x):
        parameters = tt.dot(tt.nnet.relu(tt.dot(x, weights[0])), weights[1])
        return parameters[:, :2], parameters[:, 2:]

    def decode(z):
        h = tt.nnet.elu(tt.nnet.relu(tt.dot(z, weights[2]), slopes.dimshuffle("x", 0)))
        return tt.nnet.relu(tt.dot(h, weights[3]), 0.1)

    return encode, decode, [*weights, slopes]


@pytest.mark.parametrize("options", [{}, {"objective": "iwae", "estimator": "dreg", "n_samples": 2}])
def test_spelled_activations_are_recognised_before_the_gradient_which_stays(options, monkeypatch):
    rng = np.random.default_rng(0)
    encode, decode, parameters = spelled_network(rng)
    images, noise = rng.normal(size=(3, 4)).astype("float32"), rng.normal(size=(2, 3, 2)).astype("float32")
    images[1] = 0  # so that the first layer is exactly 0
    xs = tt.fmatrix("xs")
    xs.tag.test_value = images
    with pm.Model() as model:
        zs = pm.Normal("zs", 0, 1, shape=(3, 2), dtype="float32", total_size=9)
        pm.Normal("xs_", decode(zs), 1, observed=xs, dtype="float32", total_size=9)
    mean, rho = encode(xs)
    results, kinds = [], []
    for recognising in (True, False):
        if not recognising:
            for module in (objective, rowwise):
                monkeypatch.setattr(module, "recognise", lambda outputs: (outputs, {}))
        inference = pm.ADVI(model=model, local_rv={zs: dict(mu=mean, rho=rho)})
        (local,) = [group for group in inference.approx.groups if group.local]
        captured = []

        def capture(gradients, params, captured=captured):
            captured += gradients
            return {}

        given = {xs: theano.shared(images), local.symbolic_initial: theano.shared(noise[: options.get("n_samples", 1)])}
        loss, _ = step_updates(
            inference.objective, obj_optimizer=capture, more_obj_params=parameters, more_replacements=given, **options
        )
        nodes = theano.gof.graph.io_toposort([], [loss, *captured])
        kinds.append({type(node.op.scalar_op) for node in nodes if isinstance(node.op, tt.Elemwise)})
        results.append(theano.function([], [loss, *captured], mode="FAST_COMPILE")())  # no C modules
    assert theano.scalar.Abs in kinds[1] and not {theano.scalar.Abs, theano.scalar.Expm1} & kinds[0]
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
