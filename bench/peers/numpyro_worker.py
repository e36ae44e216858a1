"""The seed models in NumPyro: SVI with `Trace_ELBO`, its update jitted, on the networks of jax_worker.py.

python -m bench.peers.numpyro_worker PROBLEM.npz           a call of the jitted update for each step
python -m bench.peers.numpyro_worker PROBLEM.npz loop      a call for 100 steps, as `svi.run` has them
"""

import os
import sys

from bench.peers.jax_worker import STEPS, network, parameters, stepper  # first: it limits the threads

import jax  # isort: skip
import jax.numpy as jnp
import numpyro
from numpyro import distributions as dist
from numpyro.infer import SVI, Trace_ELBO

from bench.problem import load
from bench.worker import serve


class GivenNoise(dist.Normal):
    """A Normal whose sample is made of noise that is given."""

    def __init__(self, loc, scale, noise):
        super().__init__(loc, scale)
        self.noise = noise

    def sample(self, key, sample_shape=()):
        return self.loc + self.scale * self.noise


def inference(problem):
    """SVI of a seed model; model and guide are functions of images and noise."""
    encode, decode = network(problem)
    initial = parameters(problem)

    def weights():
        return [numpyro.param(f"weight{i}", weight) for i, weight in enumerate(initial)]

    def model(x, noise):
        z = numpyro.sample("z", dist.Normal().expand(noise.shape).to_event(2))
        x_mean = decode(weights(), z).reshape(x.shape)
        numpyro.sample("x", dist.Normal(x_mean, 0.1).to_event(x.ndim), obs=x)

    def guide(x, noise):
        numpyro.sample("z", GivenNoise(*encode(weights(), x), noise).to_event(2))

    return SVI(model, guide, numpyro.optim.Adam(1e-4), Trace_ELBO())


def main(path, way="calls"):
    problem, steps = load(path), STEPS[way]
    svi = inference(problem)

    def start(problem):
        images = problem.images[: problem.batch_size].transpose(0, 2, 3, 1)
        return jax.tree.map(jnp.copy, svi.init(jax.random.key(1), images, problem.noise[0]))  # it will be donated

    about = {"numpyro": numpyro.__version__, "XLA's threads": len(os.sched_getaffinity(0))}
    serve(stepper(problem, svi.update, start, steps), len(problem.batches), lambda: about, fetch_every=steps)


if __name__ == "__main__":
    main(*sys.argv[1:])
