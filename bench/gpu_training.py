"""Train the seed model on real images under the environment's profile, and print where the loss began and ended.

    FASTVAE_PROFILE=cuda python -m bench.gpu_training [--steps 300] [--quick]

Prints JSON on its last line: the mean loss of the first and of the last twentieth of the steps, in nats a minibatch.
"""

from __future__ import annotations

import argparse
import json

import fastvae  # isort: skip  (before theano)
import numpy as np

from fastvae.profiles import active


def train(steps: int, quick: bool = False) -> dict:
    """The profile, the steps, and the mean of the first and of the last losses."""
    images = fastvae.datasets.load("fashion-mnist-sample")
    size = dict(filters=4, hidden=8) if quick else {}
    vae = fastvae.ConvVAE(image_shape=(1, 28, 28), n_latent=2, seed=1, **size)
    batch_size = 4 if quick else 64
    rate = 1e-2 if quick else 1e-4
    approx = vae.fit(images, n=steps, batch_size=batch_size, learning_rate=rate, seed=1, progressbar=False)
    few = max(1, steps // 20)
    first, last = (float(np.mean(losses)) for losses in (approx.hist[:few], approx.hist[-few:]))
    return dict(profile=active().name, steps=steps, batch_size=batch_size, first=first, last=last)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="toy size")
    args = parser.parse_args(argv)
    print(json.dumps(train(args.steps, args.quick)))


if __name__ == "__main__":
    main()
