"""A step with PyMC3's own optimizers and minibatch, as a user's script gives them, against fastvae's, in turn.

    python bench/optimizers.py conv
    python bench/optimizers.py mlp --rounds 10

Prints a Markdown table: milliseconds a step, and the median ratio to the step of `fastvae.adam` on a
`fastvae.Minibatch`. All train the same model on the same images, in one process, in blocks in turn (A B C C B A ...).
Learning rates are tiny, so that no optimizer diverges meanwhile: what becomes NaN or denormal is slow.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator

import fastvae  # isort: skip  (before theano)
import pymc3 as pm

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import tables  # noqa: E402
from bench.steps import compiled_step  # noqa: E402
from fastvae import datasets, timing  # noqa: E402

RATE, BATCH = 1e-9, 64
NAMES = ("adam", "adagrad_window", "adagrad", "adadelta", "adamax", "rmsprop", "sgd", "momentum", "nesterov_momentum")


def programs(names: Iterable[str] = NAMES) -> Iterator[tuple]:
    """What to time, the reference first: name, optimizer and kind of minibatch."""
    yield "fastvae.adam, fastvae.Minibatch", fastvae.adam(learning_rate=RATE), fastvae.Minibatch
    for name in names:
        yield f"pm.{name}, pm.Minibatch", getattr(pm, name)(learning_rate=RATE), pm.Minibatch


def compare(steps: dict[str, Callable], rounds: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Milliseconds and ratios to the first step: `{name: (median, median ratio)}`.

    Parameters
    ----------
    steps : dict
        From a name to a training step.
    rounds : int
    seconds : float
        Length of a block.
    """
    watches = {name: timing.Stopwatch(step) for name, step in steps.items()}
    for watch in watches.values():
        watch.warm_up()
    blocks = {name: [] for name in watches}
    for number in range(rounds):
        for name in list(watches)[:: -1 if number % 2 else 1]:
            blocks[name].append(watches[name].block(seconds).milliseconds)
    reference = next(iter(blocks.values()))
    return {
        name: (statistics.median(times), statistics.median(a / b for a, b in zip(times, reference)))
        for name, times in blocks.items()
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=("conv", "mlp"))
    parser.add_argument("--optimizers", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=0.7, help="length of a block")
    args = parser.parse_args(argv)
    images = datasets.load("fashion-mnist-sample")
    steps = {
        name: compiled_step(args.model, minibatch(images, BATCH), BATCH, len(images), obj_optimizer=optimizer)
        for name, optimizer, minibatch in programs(args.optimizers)
    }
    found = compare(steps, args.rounds, args.seconds)
    rows = ([name, f"{milliseconds:.2f}", f"{ratio:.2f}"] for name, (milliseconds, ratio) in found.items())
    print(tables.table(["program", "ms a step", "ratio"], rows))


if __name__ == "__main__":
    main()
