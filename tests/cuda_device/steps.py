"""Steps of both seed models at toy size, from the same weights, rows and noise, on whatever device the profile names.

    python -m tests.cuda_device.steps FOLDER [seeds]

FOLDER holds mlp.npz and conv.npz of `bench.problem`. Writes to it, for each model and seed of the tests' device (the
first time in turn), losses, gradients and what the steps updated; JSON on the output: what the checks found.
"""

import json
import pathlib
import sys

import fastvae  # noqa: F401  isort: skip  (before theano)
import numpy as np
import theano

from bench.fastvae_worker import seed_objective
from bench.problem import load
from bench.steps import with_given
from fastvae import elbo
from fastvae.profiles import active
from tests import cuda_device

STEPS = 5


def functions(problem):
    """The step and the gradients of a problem, and what the step updates."""
    inference, options = seed_objective(problem, learning_rate=1e-3)
    loss, updates = elbo.step_updates(inference.objective, **with_given(inference, problem, **options))
    gradients = theano.function([], theano.grad(loss, options["more_obj_params"]))
    return theano.function([], loss, updates=updates), gradients, list(updates)


def run(folder, kind, seeds):
    step, gradients, updated = functions(load(folder / f"{kind}.npz"))
    start = [np.array(variable.get_value()) for variable in updated]
    for seed in (None, *seeds):
        if seed is not None:
            cuda_device.order(seed)
        for variable, value in zip(updated, start):
            variable.set_value(value)
        found = {f"gradient {i}": np.asarray(value) for i, value in enumerate(gradients())}
        found["losses"] = [float(step()) for _ in range(STEPS)]
        found.update((f"state {i}", np.asarray(variable.get_value())) for i, variable in enumerate(updated))
        np.savez(folder / f"{kind}.{active().device}.{seed}.npz", **found)


def main(folder, *seeds):
    on_gpu = active().device != "cpu"
    if on_gpu:
        cuda_device.without_host_code()
    for kind in ("mlp", "conv"):
        run(pathlib.Path(folder), kind, seeds)
        if on_gpu:
            cuda_device.order(None)
    print(json.dumps(cuda_device.findings() if on_gpu else []))


if __name__ == "__main__":
    main(*sys.argv[1:])
