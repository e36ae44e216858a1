"""Time the step of every objective, KL, likelihood and posterior against the seed step, in turn, in one process.

    python bench/objectives.py mlp
    python bench/objectives.py conv --likelihoods bernoulli-dynamic categorical --samples 1

Prints a Markdown table, a row a combination. Each trains a seed model on the same images and is timed in blocks that
alternate with the seed's own step (ELBO, Monte Carlo KL, one sample, Normal pixels of sd 0.1, mean-field): A B B A.

The ratio is that of the milliseconds a step and sample to the seed's step, where the network is the seed's. Where the
decoder has more output channels, it is that of the step to the time that its arithmetic (convolutions and matrix
products, as `where_time_goes.py` counts them) would take at the seed step's GFLOP/s. `--limit` makes a median ratio
above it an error.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import fastvae  # isort: skip  (before theano)
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import tables  # noqa: E402
from bench.steps import compiled_step  # noqa: E402
from bench.where_time_goes import group_and_work  # noqa: E402
from fastvae import likelihoods  # noqa: E402
from fastvae.devices import threads  # noqa: E402

OBJECTIVES = {
    "elbo": dict(),
    "elbo, analytic KL": dict(kl="analytic"),
    "iwae": dict(objective="iwae"),
    "iwae, dreg": dict(objective="iwae", estimator="dreg"),
}
LIKELIHOODS = {
    "normal": likelihoods.Normal(),
    "normal, learned sd": likelihoods.Normal(learn_sd=True),
    "bernoulli, static": likelihoods.Bernoulli(binarize="static"),
    "bernoulli, dynamic": likelihoods.Bernoulli(binarize="dynamic"),
    "categorical": likelihoods.Categorical(),
    "discretized-logistic": likelihoods.DiscretizedLogistic(),
    "mixture of 5 logistics": likelihoods.DiscretizedLogistic(components=5),
}
POSTERIORS = ("mean-field", "full-covariance")


class Combination(NamedTuple):
    """What a row of the table is about."""

    likelihood: str = "normal"
    posterior: str = "mean-field"
    objective: str = "elbo"
    samples: int = 1


SEED = Combination()


class Step:
    """A compiled training step of a fresh seed model.

    Parameters
    ----------
    kind : {"conv", "mlp"}
    batch_size : int
    images : array, float32 (N, C, H, W)
    combination : Combination
    """

    def __init__(self, kind, batch_size, images, combination=SEED):
        self.samples = combination.samples
        likelihood = LIKELIHOODS[combination.likelihood]
        self.has_more_outputs = likelihood.n_outputs > 1
        if likelihood.binarizes_images:
            images = likelihood.as_data(images, seed=1)
        self.call = compiled_step(
            kind,
            fastvae.Minibatch(images, batch_size, binarize=likelihood.binarizes_batches),
            batch_size,
            len(images),
            network=dict(likelihood=likelihood, posterior=combination.posterior),
            n_samples=combination.samples,
            fold=True,
            **OBJECTIVES[combination.objective],
        )

    def gflop(self) -> float:
        """Billions of floating point operations of a step that has run, as the direct algorithms count them."""
        storage = self.call.fn.storage_map
        nodes = self.call.maker.fgraph.apply_nodes
        return sum(group_and_work(node, lambda v: np.shape(storage[v][0]))[1] for node in nodes) / 1e9

    def milliseconds(self, seconds: float) -> float:
        """Milliseconds a step over about `seconds`."""
        steps, started = 0, time.perf_counter()
        while steps == 0 or time.perf_counter() - started < seconds:
            self.call()
            steps += 1
        return 1000 * (time.perf_counter() - started) / steps


def measured(seed: Step, step: Step, pairs: int, seconds: float) -> tuple[float, list[float]]:
    """Median milliseconds a step and sample, and the ratios to what the seed step allows, one a pair of blocks."""
    for warm_up in (seed, step):
        warm_up.milliseconds(seconds / 4)
    share = step.gflop() / seed.gflop() if step.has_more_outputs else step.samples
    times, ratios = [], []
    for i in range(pairs):
        order = (seed, step) if i % 2 else (step, seed)
        block = {timed: timed.milliseconds(seconds) for timed in order}
        times.append(block[step] / step.samples)
        ratios.append(block[step] / (share * block[seed]))
    return statistics.median(times), ratios


def row(combination: Combination, gflop: float, milliseconds: float, ratios: list[float]) -> str:
    """A line of the Markdown table."""
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    per_sample = f"{gflop / combination.samples:.3f}"
    return tables.row([*combination, per_sample, f"{milliseconds:.3f}", spread])


def combinations(
    objectives: Iterable[str], likelihoods: Iterable[str], posteriors: Iterable[str], samples: Iterable[int]
) -> Iterator[Combination]:
    """All of these but the seed's own, and but IWAE of one sample, which is the ELBO."""
    for combination in itertools.starmap(Combination, itertools.product(likelihoods, posteriors, objectives, samples)):
        if combination != SEED and (combination.samples > 1 or combination.objective.startswith("elbo")):
            yield combination


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("conv", "mlp"))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--likelihoods", nargs="+", choices=LIKELIHOODS, default=list(LIKELIHOODS))
    parser.add_argument("--posteriors", nargs="+", choices=POSTERIORS, default=POSTERIORS)
    parser.add_argument("--pairs", type=int, default=4, help="pairs of blocks for each combination")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a block")
    parser.add_argument("--limit", type=float, help="the greatest median ratio that is no error")
    args = parser.parse_args(argv)
    images = fastvae.datasets.load("fashion-mnist-sample")
    load = os.getloadavg()[0]
    seed = Step(args.model, args.batch_size, images)
    print(
        f"{args.model}, batch {args.batch_size}, profile {fastvae.profiles.active().name}, {threads.describe()}, "
        f"{datetime.date.today()}, load before {load:.2f}; the seed step: {seed.milliseconds(args.seconds):.3f} ms, "
        f"{seed.gflop():.3f} GFLOP\n\n{tables.head([*Combination._fields, 'GFLOP a sample', 'ms a sample', 'ratio'])}"
    )
    worst = 0
    for combination in combinations(args.objectives, args.likelihoods, args.posteriors, args.samples):
        step = Step(args.model, args.batch_size, images, combination)
        milliseconds, ratios = measured(seed, step, args.pairs, args.seconds)
        print(row(combination, step.gflop(), milliseconds, ratios), flush=True)
        worst = max(worst, statistics.median(ratios))
    print(f"\nthe greatest ratio is {worst:.2f}")
    if args.limit is not None and worst > args.limit:
        raise SystemExit(f"the greatest ratio, {worst:.2f}, is above {args.limit}")


if __name__ == "__main__":
    main()
