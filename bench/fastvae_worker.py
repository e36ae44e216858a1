"""fastvae on the same problems, in one of three ways:

    python -m bench.fastvae_worker PROBLEM.npz seed       a seed model of its own classes
    python -m bench.fastvae_worker PROBLEM.npz user       the user's program through fastvae.fit's step
    python -m bench.fastvae_worker PROBLEM.npz user-pm    the user's program through stock pm.fit's step
"""
import sys

import fastvae  # isort: skip  (before theano)
import pymc3 as pm
import theano

from bench.problem import load
from bench.steps import assert_engine, pm_step, users_step, with_given
from bench.worker import serve
from fastvae import devices, elbo
from fastvae.profiles import active


def fastvae_step(inference, **options):
    """The step that `fastvae.fit` takes."""
    loss, updates = elbo.step_updates(inference.objective, **options)
    return theano.function([], loss, updates=updates)


def seed_step(problem, given):
    """fastvae's step of a seed model."""
    vae = {"conv": fastvae.ConvVAE, "mlp": fastvae.MLPVAE}[problem.kind](**problem.config)
    for param, weight in zip(vae.get_params(), problem.weights):
        param.set_value(weight)
    model, local_rv, xs = elbo.vae_model(vae, problem.batch_size, len(problem.images))
    inference = pm.ADVI(model=model, local_rv=local_rv)
    options = dict(
        obj_optimizer=fastvae.adam(learning_rate=1e-4),
        more_obj_params=vae.get_params(),
        more_replacements={xs: fastvae.Minibatch(problem.images, problem.batch_size)},
    )
    return fastvae_step(inference, **(with_given(inference, problem, **options) if given else options))


def main(path, program):
    problem = load(path)

    def make_step(given):
        if program == "seed":
            step = seed_step(problem, given)
        else:
            step = users_step(problem, given, fastvae_step if program == "user" else pm_step)
        assert_engine(step, active())
        return step

    def about():
        return {"profile": active().name, "pools": devices.threads.describe()}

    serve(make_step, len(problem.batches), about)


if __name__ == "__main__":
    main(*sys.argv[1:])
