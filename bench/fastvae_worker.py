"""fastvae on the same problems, in one of three ways:

    python -m bench.fastvae_worker PROBLEM.npz seed       a seed model of its own classes
    python -m bench.fastvae_worker PROBLEM.npz user       a user's program through fastvae.fit's step
    python -m bench.fastvae_worker PROBLEM.npz user-pm    the user's program through stock pm.fit's step

On a GPU the losses stay there and are fetched every 100 steps.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator

import fastvae  # isort: skip  (before theano)
import pymc3 as pm
import theano

from bench.problem import Problem, load
from bench.steps import assert_engine, pm_step, users_step, with_given
from bench.worker import serve
from fastvae import backends, devices, elbo
from fastvae.profiles import active


class Buffered:
    """A step whose losses stay on the device, as `fastvae.fit` takes it on a GPU; the last is fetched by `float`."""

    def __init__(self, loss, updates, every):
        from fastvae.training import losses

        self.buffer = losses.LossBuffer(loss, every)
        self.function = theano.function([], updates=[*updates.items(), *self.buffer.updates])
        self.maker, self.get_shared = self.function.maker, self.function.get_shared
        # asv measures commits without it too
        self.step = getattr(backends, "stepping", lambda function, profile: function)(self.function, active())

    def __call__(self):
        self.step()
        return self

    def __float__(self):
        return self.buffer.fetch(1)[0]


def fastvae_step(inference, **options):
    """The step that `fastvae.fit` takes."""
    loss, updates = elbo.step_updates(inference.objective, **options)
    if fetch_every() > 1:
        return Buffered(loss, updates, fetch_every())
    return theano.function([], loss, updates=updates)


def fetch_every() -> int:
    """Steps from one fetch of the loss to the next, as `fastvae.fit` has it without callbacks."""
    if theano.config.device == "cpu":  # also for the commits of asv's history that had no buffer of losses yet
        return 1
    from fastvae.training import losses

    return losses.interval(None, callbacks=None)


def wait_for(step: Callable) -> None:
    """Return when a GPU has finished a step: all variables that the step updates have their values."""
    for shared in step.get_shared():
        array = shared.get_value(borrow=True, return_internal_type=True)
        if hasattr(array, "sync"):
            array.sync()


def seed_objective(problem: Problem, learning_rate: float = 1e-4) -> tuple[pm.ADVI, dict]:
    """A seed model with the problem's weights: its inference, and the options of its step."""
    vae = {"conv": fastvae.ConvVAE, "mlp": fastvae.MLPVAE}[problem.kind](**problem.config)
    for param, weight in zip(vae.get_params(), problem.weights):
        param.set_value(weight)
    model, local_rv, xs = elbo.vae_model(vae, problem.batch_size, len(problem.images))
    inference = pm.ADVI(model=model, local_rv=local_rv)
    options = dict(
        obj_optimizer=fastvae.adam(learning_rate=learning_rate),
        more_obj_params=vae.get_params(),
        more_replacements={xs: fastvae.Minibatch(problem.images, problem.batch_size)},
    )
    return inference, options


def seed_step(problem: Problem, given: bool) -> Callable:
    """fastvae's step of a seed model."""
    inference, options = seed_objective(problem)
    return fastvae_step(inference, **(with_given(inference, problem, **options) if given else options))


@contextlib.contextmanager
def verbose() -> Iterator[None]:
    """A context in which oneDNN prints a line for each kernel that it calls, and our own kernels too."""
    onednn = ctypes.CDLL(devices.onednn().path)
    onednn.dnnl_set_verbose(1)
    os.environ["ONEDNN_VERBOSE"] = "1"
    try:
        yield
    finally:
        onednn.dnnl_set_verbose(0)
        del os.environ["ONEDNN_VERBOSE"]


def main(path: str, program: str) -> None:
    problem, latest = load(path), []

    def make_step(given):
        if program == "seed":
            step = seed_step(problem, given)
        else:
            step = users_step(problem, given, fastvae_step if program == "user" else pm_step)
        assert_engine(step, active())
        latest[:] = [step]
        return step

    def about():
        instructions = getattr(active(), "instructions", "")  # asv measures commits without it too
        return {"profile": active().name, "pools": devices.threads.describe(), "instructions": instructions}

    serve(make_step, len(problem.batches), about, lambda: wait_for(*latest), fetch_every(), verbose=verbose)


if __name__ == "__main__":
    main(*sys.argv[1:])
