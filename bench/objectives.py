"""Time every objective's step against the seed step: milliseconds a step and sample, in turn, in one process.

    python bench/objectives.py conv --samples 1 5 --batch-size 64

Every combination trains a seed model on the same images. Each is timed in blocks that alternate with the seed's own
step (ELBO, Monte Carlo KL, one sample): A B B A. Printed are the median milliseconds a step and sample, and the median
ratio to the seed's step of the neighbouring block; `--limit` makes a ratio above it an error.
"""
import argparse
import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import fastvae  # noqa: E402
from bench.steps import compiled_step  # noqa: E402

COMBINATIONS = {
    "elbo, analytic KL": dict(kl="analytic"),
    "elbo": dict(),
    "iwae": dict(objective="iwae"),
    "iwae, dreg": dict(objective="iwae", estimator="dreg"),
}


def milliseconds(step, seconds):
    """Milliseconds a step over about `seconds`."""
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        step()
        steps += 1
    return 1000 * (time.perf_counter() - started) / steps


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("conv", "mlp"))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--pairs", type=int, default=4, help="pairs of blocks for each combination")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a block")
    parser.add_argument("--limit", type=float, help="the greatest ratio per sample that is no error")
    args = parser.parse_args(argv)
    images = fastvae.datasets.load("fashion-mnist-sample")
    load = os.getloadavg()[0]
    problem = args.model, fastvae.Minibatch(images, args.batch_size), args.batch_size, len(images)
    seed = compiled_step(*problem)
    combinations = [
        (f"{name}, {k} sample{'s' * (k > 1)}", k, dict(options, n_samples=k))
        for k in args.samples
        for name, options in COMBINATIONS.items()
        if k > 1 or options
    ]
    print(f"{args.model}, batch {args.batch_size}, profile {fastvae.profiles.active().name}, load before {load:.2f}")
    worst = 0
    for name, k, options in combinations:
        step = compiled_step(*problem, **options)
        for warm_up in (seed, step):
            milliseconds(warm_up, 0.2)
        times, ratios = [], []
        for i in range(args.pairs):
            order = (seed, step) if i % 2 else (step, seed)
            block = {function: milliseconds(function, args.seconds) for function in order}
            times.append(block[step] / k)
            ratios.append(block[step] / k / block[seed])
        ratio = statistics.median(ratios)
        worst = max(worst, ratio)
        print(
            f"{name}: {statistics.median(times):.3f} ms a step and sample, "
            f"{ratio:.2f} of the seed step ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    if args.limit is not None and worst > args.limit:
        raise SystemExit(f"the slowest takes {worst:.2f} of the seed step a sample, more than {args.limit}")


if __name__ == "__main__":
    main()
