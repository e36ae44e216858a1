"""Train a seed model in fastvae and in stock PyMC3 on the same weights, batches and noise; compare where the loss ends.

    python bench/agreement.py conv|mlp|conv64 [--steps 300] [--threads 2]

Ends with status 1 if the mean of the last 50 losses is more than 1 % from stock's.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from bench.pairing import closing, theano_workers, write_problem  # noqa: E402
from bench.problem import SEED  # noqa: E402

LAST, BOUND = 50, 0.01


def compare(ours: list[float], stocks: list[float]) -> tuple[float, float, float]:
    """Means of the last losses of both, and their relative difference."""
    means = [float(np.mean(losses[-LAST:])) for losses in (ours, stocks)]
    return *means, abs(means[0] / means[1] - 1)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=sorted(SEED))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="toy size")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, closing([]) as workers:
        path = pathlib.Path(folder, "problem.npz")
        environ = write_problem(path, args.model, args.quick, args.steps)
        workers += theano_workers(path, "seed", "seed", args.threads, environ)
        losses = [worker.check() for worker in (workers[0], workers[-1])]
    ours, stocks, apart = compare(*losses)
    largest = max(abs(a / b - 1) for a, b in zip(*losses))
    print(
        f"{args.model}, {args.steps} steps from loss {losses[0][0]:.0f}: the last {LAST} average {ours:.1f} in fastvae "
        f"and {stocks:.1f} in stock PyMC3, {apart:.1e} apart; the largest difference at any step is {largest:.1e}"
    )
    if not apart <= BOUND:
        raise SystemExit(f"more than {BOUND:.0%} apart")


if __name__ == "__main__":
    main()
