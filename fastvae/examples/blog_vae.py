"""The blog's convolutional VAE with its own Theano layers and its own `pm.Model`, trained through `fastvae.fit`.

    python -m fastvae.examples.blog_vae --iterations 1000

Network and model use nothing of fastvae: any Theano graph will do. Compared with a script for `pm.fit`, the changes are
the first import, `fastvae.fit`, `fastvae.adam` and `fastvae.Minibatch`; and the test value is gone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import fastvae  # isort: skip  (before theano: picks the profile)
import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from theano.tensor.nnet.abstract_conv import conv2d_grad_wrt_inputs


def glorot(rng: np.random.Generator, *shape: int) -> Any:
    """A weight as many Theano users write it: uniform between -limit and limit."""
    receptive_field = int(np.prod(shape[2:]))
    limit = np.sqrt(6.0 / (receptive_field * (shape[0] + shape[1])))
    return theano.shared(rng.uniform(-limit, limit, shape).astype("float32"))


def zeros(*shape: int) -> Any:
    """A bias."""
    return theano.shared(np.zeros(shape, dtype="float32"))


class BlogVAE:
    """The blog's encoder and decoder, in plain Theano without a library of layers."""

    def __init__(self, n_latent: int = 2, filters: int = 64, hidden: int = 128, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        f, self.n_latent = filters, n_latent
        self.flat = f * 24 * 24
        self.filters = f
        self.e_conv = [(glorot(rng, f, i, k, k), zeros(f)) for i, k in ((1, 3), (f, 1), (f, 3))]
        self.e_dense = [(glorot(rng, i, o), zeros(o)) for i, o in ((self.flat, hidden), (hidden, 2 * n_latent))]
        self.d_dense = [(glorot(rng, i, o), zeros(o)) for i, o in ((n_latent, hidden), (hidden, self.flat))]
        self.d_conv = [(glorot(rng, f, o, k, k), zeros(o)) for o, k in ((f, 3), (f, 1), (1, 3))]

    def encode(self, x: Any) -> tuple[Any, Any]:
        """Latent mean and rho of images (batch, 1, 28, 28)."""
        for weight, bias in self.e_conv:
            x = tt.nnet.relu(tt.nnet.conv2d(x, weight) + bias.dimshuffle("x", 0, "x", "x"))
        x = x.flatten(2)
        (weight, bias), (last_weight, last_bias) = self.e_dense
        x = tt.nnet.relu(tt.dot(x, weight) + bias)
        x = tt.dot(x, last_weight) + last_bias
        return x[:, : self.n_latent], x[:, self.n_latent :]

    def decode(self, z: Any) -> Any:
        """Mean image (batch, 1, 28, 28) of latents."""
        for weight, bias in self.d_dense:
            z = tt.nnet.relu(tt.dot(z, weight) + bias)
        x = z.reshape((z.shape[0], self.filters, 24, 24))
        for (weight, bias), size in zip(self.d_conv, (26, 26, 28)):
            shape = (None, weight.get_value(borrow=True).shape[1], size, size)
            x = conv2d_grad_wrt_inputs(x, weight, shape) + bias.dimshuffle("x", 0, "x", "x")
            x = tt.nnet.sigmoid(x) if size == 28 else tt.nnet.relu(x)
        return x


def train(
    images: np.ndarray,
    iterations: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    filters: int = 64,
    hidden: int = 128,
) -> pm.Approximation:
    """Fit the blog's model to images, float32 (N, 1, 28, 28) in [0, 1], and return PyMC3's approximation."""
    vae = BlogVAE(filters=filters, hidden=hidden)
    xs = tt.tensor4("xs")
    with pm.Model():
        zs = pm.Normal("zs", mu=0, sigma=1, shape=(batch_size, vae.n_latent), dtype="float32", total_size=len(images))
        x_mean = vae.decode(zs)
        pm.Normal("xs_", mu=x_mean, sigma=0.1, observed=xs, total_size=len(images))
        mean, rho = vae.encode(xs)
        return fastvae.fit(
            iterations,
            local_rv={zs: dict(mu=mean, rho=rho)},
            obj_optimizer=fastvae.adam(learning_rate=learning_rate),
            more_obj_params=fastvae.collect_params([mean, rho, x_mean]),
            more_replacements={xs: fastvae.Minibatch(images, batch_size)},
            random_seed=1,
            batch_size=batch_size,
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Train on the images that ship with fastvae, and print the ELBO at the beginning and at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=128)
    args = parser.parse_args(argv)
    images = fastvae.datasets.load("fashion-mnist-sample")
    hist = train(images, args.iterations, args.batch_size, filters=args.filters, hidden=args.hidden).hist
    tenth = max(1, len(hist) // 10)
    first, last = (-np.mean(part) / args.batch_size for part in (hist[:tenth], hist[-tenth:]))
    print(f"ELBO per image: {first:.2f} over the first {tenth} iterations, {last:.2f} over the last {tenth}")


if __name__ == "__main__":
    main()
