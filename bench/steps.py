"""Steps of PyMC3 models: stock's, on drawn or on given batches and noise, those of the user's program, and fastvae's.

Functions that need theano or fastvae import them when they are called: stock's process must never import fastvae.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.problem import Problem
    from fastvae.profiles import Profile

HEAVY = re.compile("Conv|Corr|Dot|Gem|Ger|MatMul|OfProduct")  # names of the Ops that multiply matrices or convolve
GPU = ("theano.gpuarray.", "fastvae.backends.gpu.")


def pm_step(inference, **options) -> Callable:
    """The step that stock `pm.fit` takes."""
    return inference.objective.step_function(score=True, **options)


def with_given(inference, problem, more_replacements, **options) -> dict:
    """`pm.fit`'s options with the problem's own batches and noise, one after another, in place of drawn ones."""
    import numpy as np
    import theano

    number = theano.shared(np.int64(0))
    (xs,) = more_replacements
    (local,) = [group for group in inference.approx.groups if group.local]
    replacements = {
        xs: theano.shared(problem.images)[theano.shared(problem.batches)[number]],
        local.symbolic_initial: theano.shared(problem.noise[:, None])[number],
    }
    return dict(options, more_replacements=replacements, more_updates={number: number + 1})


def users_step(problem: Problem, given: bool, take: Callable) -> Callable:
    """The step of a program that knows nothing of fastvae, as `take(inference, **options)` makes it.

    Of a seed model that is `user_vae.py`, else the network in plain Theano.
    """
    import pymc3 as pm

    from bench import theano_network, user_vae

    def fit(n, local_rv, **options):
        inference = pm.ADVI(local_rv=local_rv)
        return take(inference, **(with_given(inference, problem, **options) if given else options))

    if problem.kind == "network":
        return theano_network.train(problem, fit)
    return user_vae.train(problem.images, problem.weights, problem.batch_size, fit)


def compiled_step(
    kind, minibatch, batch_size, total_size, profile=False, network=None, obj_optimizer=None, mode=None, **options
):
    """fastvae's step of a fresh seed model, "conv" or "mlp", fed by a minibatch.

    `network` holds arguments of the model (likelihood, posterior), `obj_optimizer` is Adam by default, `options` choose
    the objective.
    """
    import fastvae  # isort: skip  (before theano)
    import pymc3 as pm
    import theano

    from fastvae import elbo

    vae = {"conv": fastvae.ConvVAE, "mlp": fastvae.MLPVAE}[kind](seed=0, **(network or {}))
    model, local_rv, xs = elbo.vae_model(vae, batch_size, total_size)
    loss, updates = elbo.step_updates(
        pm.ADVI(model=model, local_rv=local_rv).objective,
        obj_optimizer=fastvae.adam(learning_rate=1e-4) if obj_optimizer is None else obj_optimizer,
        more_obj_params=vae.get_params(),
        more_replacements={xs: minibatch},
        **options,
    )
    return theano.function([], loss, updates=updates, profile=profile, mode=mode)


def assert_engine(step: Callable, profile: Profile) -> None:
    """Assert that a step runs where its profile says: the device, and whose Ops multiply and convolve."""
    import theano

    assert theano.config.device == profile.device, f"{theano.config.device} is not {profile.device}"
    if profile.device != "cpu":
        engine = GPU
    else:
        engine = "fastvae.backends.cpu." if profile.backend == "cpu" else "theano.tensor."
    ops = [type(node.op) for node in step.maker.fgraph.toposort() if HEAVY.search(type(node.op).__name__)]
    assert ops, "the step neither multiplies nor convolves"
    elsewhere = {f"{op.__module__}.{op.__name__}" for op in ops if not op.__module__.startswith(engine)}
    assert not elsewhere, f"under the profile {profile.name} these are not of {engine}: {', '.join(sorted(elsewhere))}"
