"""The users' networks of `bench/networks.py` at toy size, and a model of fastvae's layers with state, for any profile.

STEPS       by name a function that makes a training step: (step, its losses, the shared variables that it updates)
trained     what a few steps of each make of these, as arrays
"""

import types

import fastvae  # isort: skip
import numpy as np
import pymc3 as pm
import theano

from bench import networks, theano_network
from fastvae import elbo
from fastvae.training.losses import LossBuffer

BATCH, IMAGES, N_STEPS = 2, 6, 5
SEED = 4  # of noise with which no value comes so close to a kink or a tie that rounding decides


def toy(network):
    """A network with an eighth of its channels, units and latent variables."""
    stacks = [tuple(map(_narrow, layers)) for layers in (network.encoder, network.decoder)]
    return network._replace(n_latent=_few(network.n_latent), batch_size=BATCH, encoder=stacks[0], decoder=stacks[1])


def _few(n):
    return n // 8 if n >= 8 else n


def _narrow(layer):
    if isinstance(layer, networks.Residual):
        return networks.Residual(*(tuple(map(_narrow, branch)) for branch in layer))
    fewer = {name: _few(n) for name, n in layer._asdict().items() if name in ("n_in", "n_out", "n")}
    if isinstance(layer, networks.Reshape):
        fewer["shape"] = (_few(layer.shape[0]), *layer.shape[1:])
    return layer._replace(**fewer)


def users_step(name):
    """The step of a user's network in plain Theano."""
    pm.set_tt_rng(SEED)
    network = toy(networks.NETWORKS[name])
    networks.NETWORKS["toy"] = network
    problem = types.SimpleNamespace(
        config={"name": "toy"},
        images=_images(network.image_shape),
        weights=networks.initial_weights(network, np.random.default_rng(0)),
        batch_size=BATCH,
    )

    def fit(n, local_rv, more_replacements, more_obj_params, obj_optimizer):
        return _step(pm.ADVI(local_rv=local_rv), list(more_replacements), problem.images, more_obj_params)

    try:
        return theano_network.train(problem, fit)
    finally:
        del networks.NETWORKS["toy"]


def layers_step():
    """The step of a ConvVAE with batch normalisation, whose running statistics it keeps, and average pooling."""
    pm.set_tt_rng(SEED)
    images = _images((1, 8, 12))
    vae = fastvae.ConvVAE(
        (1, 8, 12), filters=3, hidden=8, normalization="batch", pooling="average", activation="gelu", seed=1
    )
    model, local_rv, xs = elbo.vae_model(vae, IMAGES, IMAGES)  # of two vectors batch norm makes much of their rounding
    return _step(pm.ADVI(local_rv=local_rv, model=model), [xs], images, vae.get_params(), batch_size=IMAGES)


STEPS = {name: lambda name=name: users_step(name) for name in networks.NETWORKS} | {"layers": layers_step}


def _images(shape):
    return np.random.default_rng(0).random((IMAGES, *shape), dtype="float32")


def _step(inference, inputs, images, params, batch_size=BATCH):
    batches = {xs: fastvae.Minibatch(images, batch_size, seed=1) for xs in inputs}
    loss, updates = elbo.step_updates(
        inference.objective,
        obj_optimizer=fastvae.adam(learning_rate=1e-3),
        more_obj_params=params,
        more_replacements=batches,
    )
    losses = LossBuffer(loss, 100)
    state = [variable for variable in updates if variable.dtype == "float32"]
    return theano.function([], updates=[*updates.items(), *losses.updates]), losses, state


def trained(step, losses, state, n_steps=N_STEPS):
    """Losses of a few steps, and what they make of parameters, Adam's moments of the gradients, running statistics."""
    for _ in range(n_steps):
        step()
    return [np.array(losses.fetch(n_steps)), *(variable.get_value() for variable in state)]
