"""One row of the reproducibility table: train, judge on held-out images, print the row.

Each script of this folder is one row, for example

    python bench/reproduce/burda_vae.py                        # Fashion-MNIST, 30 minutes on two cores
    python bench/reproduce/burda_vae.py --data path/to/mnist   # a folder with MNIST's IDX files
    python bench/reproduce/burda_vae.py --quick                # some steps, to see that it runs
"""

import argparse
import os
import pathlib
import signal
import sys
import time

import fastvae

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from fastvae import datasets, evaluation  # isort: skip  (after fastvae, which picks the profile)
from fastvae.training.parts import TimeLimit  # isort: skip
from bench import tables  # noqa: E402  isort: skip


def reproduce(make, stages, iterations=None, minutes=None, batch_size=64, published="", argv=None, **fit_options):
    """Train the model `make(image_shape, seed)` and print its row.

    Parameters
    ----------
    make : callable
    stages : list of (float, float)
        Learning rates, and the share of the training that each takes.
    iterations, minutes : int or float
        Length of the training, one of them.
    batch_size : int
    published : str
        What a paper reports for the same model, for the row.
    argv : list of str, optional
    **fit_options
        Further arguments of `vae.fit`.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="fashion-mnist", help="as `fastvae train` takes it (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=minutes, help="length of the training (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=5000, help="importance samples an image (default: %(default)s)")
    parser.add_argument("--images", type=int, default=1000, help="held-out images to judge (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", metavar="FOLDER", help="keep the training here and go on from it")
    parser.add_argument("--quick", action="store_true", help="some steps on the shipped sample, to see that it runs")
    args = parser.parse_args(argv)
    if args.quick:
        args.data, args.samples, args.images = "fashion-mnist-sample", 5, 20
        iterations, args.minutes = 6, None
    images = datasets.load(args.data)
    vae = make(images.shape[1:], args.seed)
    held_out = datasets.held_out(args.data, vae.image_shape)[0][: args.images]

    started, steps = time.monotonic(), 0
    for i, (learning_rate, share) in enumerate(stages):
        approx = vae.fit(
            images,
            n=10**9 if args.minutes else round(iterations * share),
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=args.seed + i,
            checkpoint=args.checkpoint and os.path.join(args.checkpoint, f"stage-{i}"),
            resume=args.checkpoint is not None,
            parts=[TimeLimit(60 * args.minutes * share)] if args.minutes else None,
            **fit_options,
        )
        if approx.ended_by in signal.Signals.__members__:
            raise SystemExit(f"{approx.ended_by} after step {len(approx.hist):,} at learning rate {learning_rate}")
        steps += len(approx.hist)
    minutes = (time.monotonic() - started) / 60

    bound = evaluation.elbo(vae, held_out, n_samples=min(args.samples, 50), seed=args.seed)
    nats = evaluation.log_likelihood(vae, held_out, n_samples=args.samples, seed=args.seed)
    row = [
        f"{len(images):,} of {args.data if args.data in datasets.NAMES else os.path.basename(args.data)}",
        f"{steps:,} steps of {batch_size}, {minutes:.1f} min",
        f"{bound.nats:.2f} ± {bound.standard_error:.2f}",
        f"{nats.nats:.2f} ± {nats.standard_error:.2f} ({args.samples:,} samples, {len(held_out):,} images)",
        published or "-",
    ]
    print(f"active units: {evaluation.active_units(vae, held_out).count} of {vae.n_latent}")
    print(tables.row(row))


def burda(image_shape, seed):
    """The one-layer model of Burda et al.: 784-200-200-50, tanh, Bernoulli pixels."""
    return fastvae.MLPVAE(
        image_shape, n_latent=50, hidden=(200, 200), activation="tanh", likelihood="bernoulli", seed=seed
    )
