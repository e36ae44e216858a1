"""The seed models in JAX: NHWC, one jitted function for the whole update, its state donated.

python -m bench.peers.jax_worker PROBLEM.npz           a call of the jitted function for each step
python -m bench.peers.jax_worker PROBLEM.npz loop      a call for 100 steps, the loop inside it
"""

import os
import sys

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(os.environ["OMP_NUM_THREADS"])])  # XLA's only setting

from functools import partial  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402
from jax.scipy.stats import norm  # noqa: E402

from bench.problem import load  # noqa: E402
from bench.worker import serve  # noqa: E402

NHWC = ("NHWC", "HWIO", "NHWC")
STEPS = {"calls": 1, "loop": 100}  # that a call of the jitted function takes


def parameters(problem):
    """The weights as JAX has them: convolutions (rows, columns, in, out), dense ones as they are.

    A flattened image is (rows, columns, channels) here and (channels, rows, columns) in the problem, so the dense
    weights beside the convolutions have their rows or columns in another order.
    """
    weights = [jnp.array(w.transpose(2, 3, 1, 0) if w.ndim == 4 else w) for w in problem.weights]
    if problem.kind == "conv":
        order = jnp.arange(weights[6].shape[0]).reshape(problem.maps).transpose(1, 2, 0).ravel()
        weights[6] = weights[6][order]
        weights[12], weights[13] = weights[12][:, order], weights[13][order]
    return weights


def network(problem):
    """The functions encode(weights, x) -> (mean, sd) and decode(weights, z) -> x_mean, images in NHWC."""
    n = 6 if problem.kind == "conv" else 0
    strides, padding = problem.config.get("strides", ()), problem.config.get("padding", ())

    def encode(weights, x):
        for i, (stride, pad) in enumerate(zip(strides, padding)):
            w, b = weights[2 * i : 2 * i + 2]
            x = jax.nn.relu(lax.conv_general_dilated(x, w, stride, [(p, p) for p in pad], dimension_numbers=NHWC) + b)
        w, b, last_w, last_b = weights[n : n + 4]
        latent = jax.nn.relu(x.reshape(len(x), -1) @ w + b) @ last_w + last_b
        mean, rho = jnp.split(latent, 2, axis=1)
        return mean, jax.nn.softplus(rho)

    def decode(weights, z):
        w, b, last_w, last_b = weights[n + 4 : n + 8]
        h = jax.nn.relu(z @ w + b) @ last_w + last_b
        if n:
            channels, *sizes = problem.maps
            h = h.reshape(len(z), *sizes, channels)
            for i, (stride, pad) in enumerate(zip(reversed(strides), reversed(padding))):
                w, b = weights[n + 8 + 2 * i : n + 10 + 2 * i]
                pads = [(k - 1 - p, k - 1 - p) for k, p in zip(w.shape, pad)]
                h = (
                    lax.conv_transpose(jax.nn.relu(h), w, stride, pads, dimension_numbers=NHWC, transpose_kernel=True)
                    + b
                )
        return jax.nn.sigmoid(h)

    return encode, decode


def update(problem):
    """The whole update: (state, images, noise) -> (state, loss)."""
    encode, decode = network(problem)

    def loss_of(weights, x, noise):
        mean, sd = encode(weights, x)
        z = mean + sd * noise
        x_mean = decode(weights, z).reshape(x.shape)
        log_likelihood = norm.logpdf(x, x_mean, 0.1).sum()
        return -(log_likelihood + norm.logpdf(z).sum() - norm.logpdf(z, mean, sd).sum())

    def run(state, x, noise):
        weights, means, squares, t = state
        loss, gradients = jax.value_and_grad(loss_of)(weights, x, noise)
        t = t + 1
        rate = 1e-4 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients)]
        squares = [0.999 * v + 0.001 * g**2 for v, g in zip(squares, gradients)]
        weights = [w - rate * m / (jnp.sqrt(v) + 1e-8) for w, m, v in zip(weights, means, squares)]
        return (weights, means, squares, t), loss

    return run


def start(problem):
    """The state before the first step."""
    weights = parameters(problem)
    return weights, [jnp.zeros_like(w) for w in weights], [jnp.zeros_like(w) for w in weights], jnp.float32(0)


def stepper(problem, run, start, steps=1):
    """`make_step` of `serve`, from run(state, images, noise) -> (state, loss) and start(problem) -> state.

    Of the step that is timed every call of so many computes them all, in a loop inside the jitted function.
    """
    images = jnp.asarray(problem.images.transpose(0, 2, 3, 1))
    batches, noises = jnp.asarray(problem.batches), jnp.asarray(problem.noise)

    def stored(number, images):
        return images[batches[number]], noises[number]

    def drawn(number, images):
        rows_key, noise_key = jax.random.split(jax.random.fold_in(jax.random.key(1), number))
        rows = jax.random.randint(rows_key, batches.shape[1:], 0, len(images))
        return images[rows], jax.random.normal(noise_key, noises.shape[1:])

    def make_step(given):
        inputs = stored if given else drawn

        @partial(jax.jit, donate_argnums=(0, 1))
        def take(state, number, images):
            state, loss = run(state, *inputs(number, images))
            return state, number + 1, loss

        @partial(jax.jit, donate_argnums=(0, 1))
        def take_all(state, number, images):
            body = lambda _, carried: take(*carried[:2], images)  # noqa: E731
            return lax.fori_loop(0, steps, body, (state, number, jnp.float32(0)))

        several = steps > 1 and not given
        now, calls, loss = (start(problem), jnp.int32(0)), 0, None

        def step():
            nonlocal now, calls, loss
            if not several or calls % steps == 0:
                *now, loss = (take_all if several else take)(*now, images)
            calls += 1
            return loss

        return step

    return make_step


def main(path, way="calls"):
    problem, steps = load(path), STEPS[way]
    about = {"jax": jax.__version__, "XLA's threads": len(os.sched_getaffinity(0))}
    serve(stepper(problem, update(problem), start, steps), len(problem.batches), lambda: about, fetch_every=steps)


if __name__ == "__main__":
    main(*sys.argv[1:])
