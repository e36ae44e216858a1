"""The problems that all programs start from: one .npz of images, initial weights, batches and noise.

    python -m bench.problem conv PROBLEM.npz [--quick] [--steps 21]

Prints, as JSON, Theano's flags for stock: the BLAS that fastvae found and a compile folder. Biases start a little off
zero: a black pixel would otherwise sit exactly at a ReLU's kink, where stock's `tt.nnet.relu` has the gradient 0.5 and
every other library 0. `load` needs nothing but numpy, for every environment.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import NamedTuple

import numpy as np

from bench.networks import NETWORKS, initial_weights

SEED = {
    "conv": dict(image_shape=(1, 28, 28), filters=64, hidden=128),
    "conv64": dict(
        image_shape=(3, 64, 64), filters=64, hidden=128, kernels=(4, 1, 4), strides=(2, 1, 2), padding=(1, 0, 1)
    ),
    "mlp": dict(image_shape=(1, 28, 28), hidden=128),
}
BATCH_SIZES = {"conv": 64, "conv64": 32, "mlp": 64}
QUICK_BATCH, QUICK_WIDTH = 8, 8  # the toy size: images, and filters and hidden units
N_LATENT = 2
CHECKED_STEPS = 21  # the loss at step 0, and after 20 steps


class Problem(NamedTuple):
    """What a program trains and on what.

    `kind` is "conv" or "mlp", and `config` the arguments of fastvae's model, or "network", a name of
    `bench/networks.py`; `weights` weight and bias of every layer, encoder first, a dense weight (in, out), a
    convolution's (out, in, rows, columns), a transposed one's (in, out, rows, columns); `images` (N, C, H, W);
    `batches` row numbers (steps, batch); `noise` (steps, batch, n_latent).
    """

    kind: str
    config: dict
    maps: tuple
    images: np.ndarray
    weights: list
    batches: np.ndarray
    noise: np.ndarray

    @property
    def batch_size(self) -> int:
        return self.batches.shape[1]


def load(path: str | os.PathLike) -> Problem:
    """The Problem in a file."""
    with np.load(path) as stored:
        about = json.loads(str(stored["about"]))
        weights = [stored[f"weight{i}"] for i in range(about["n_weights"])]
        arrays = (stored["images"], weights, stored["batches"], stored["noise"])
        return Problem(about["kind"], about["config"], tuple(about["maps"]), *arrays)


def write(
    path: str | os.PathLike,
    model: str,
    quick: bool = False,
    steps: int = CHECKED_STEPS,
    batch_size: int | None = None,
) -> None:
    """Write a problem of one of the models of `SEED` or of `bench/networks.py`, at toy size if `quick`."""
    sizes = BATCH_SIZES | {name: network.batch_size for name, network in NETWORKS.items()}
    batch_size = batch_size or (QUICK_BATCH if quick else sizes[model])
    if model in NETWORKS:
        _write_network(path, model, batch_size, steps)
    else:
        _write_seed(path, model, quick, batch_size, steps)


def _write_network(path, model, batch_size, steps):
    network, rng = NETWORKS[model], np.random.default_rng(1)
    _save(
        path,
        dict(kind="network", config={"name": model}, maps=()),
        initial_weights(network, rng),
        _images(network.image_shape, rng),
        rng,
        (steps, batch_size, network.n_latent),
    )


def _write_seed(path, model, quick, batch_size, steps):
    import fastvae

    arguments = dict(SEED[model], n_latent=N_LATENT)
    if quick:
        arguments |= {name: QUICK_WIDTH for name in ("filters", "hidden") if name in arguments}
    kind = "mlp" if model == "mlp" else "conv"
    vae = {"conv": fastvae.ConvVAE, "mlp": fastvae.MLPVAE}[kind](**arguments, seed=1)
    rng = np.random.default_rng(1)
    weights = [param.get_value() for param in vae.get_params()]
    weights = [w if w.ndim > 1 else rng.normal(0, 0.01, w.shape).astype("float32") for w in weights]
    images = _images(vae.image_shape, rng)
    maps = next((stage.output_shape for stage in vae.stages if stage.kind == "Reshape"), ())
    about = dict(kind=kind, config=vae.config, maps=maps)
    _save(path, about, weights, images, rng, (steps, batch_size, N_LATENT))


def _images(shape, rng):
    import fastvae

    images = fastvae.datasets.load("fashion-mnist-sample")
    return in_colour(images, rng) if shape == (3, 64, 64) else images


def _save(path, about, weights, images, rng, noise_shape):
    np.savez(
        path,
        about=json.dumps(dict(about, n_weights=len(weights))),
        images=images,
        batches=rng.integers(len(images), size=noise_shape[:2]),
        noise=rng.standard_normal(noise_shape, dtype="float32"),
        **{f"weight{i}": weight for i, weight in enumerate(weights)},
    )


def in_colour(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images (N, 1, 28, 28) at twice the size, with a border, each in a colour of its own: (N, 3, 64, 64)."""
    large = np.kron(images, np.ones((1, 1, 2, 2), "float32"))
    large = np.pad(large, [(0, 0), (0, 0), (4, 4), (4, 4)])
    return large * rng.uniform(0.3, 1, (len(images), 3, 1, 1)).astype("float32")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=sorted([*SEED, *NETWORKS]))
    parser.add_argument("path")
    parser.add_argument("--quick", action="store_true", help="toy size")
    parser.add_argument("--steps", type=int, default=CHECKED_STEPS, help="batches and noise for so many steps")
    parser.add_argument("--batch-size", type=int, help="images a batch; by default the model's own")
    args = parser.parse_args(argv)
    write(args.path, args.model, args.quick, args.steps, args.batch_size)
    import theano

    # A compile folder of its own: two processes that compile in one wait for each other.
    march = [flag for flag in theano.config.gcc.cxxflags.split() if flag.startswith("-march=")]  # a limit
    folder = os.path.join(theano.config.base_compiledir, "".join(["stock", *march]))
    flags = {"blas.ldflags": theano.config.blas.ldflags, "base_compiledir": folder}
    print(json.dumps({**flags, **({"gcc.cxxflags": march[0]} if march else {})}))


if __name__ == "__main__":
    main()
