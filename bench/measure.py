"""Time fastvae's step against stock PyMC3's, in turn, in live processes.

    python bench/measure.py conv|conv64|mlp|user|user-pm [--threads 2] [--rounds 6] [--seconds 2]

`conv`, `mlp` and `conv64` (64x64x3, stride 2) are the seed models; `user` is a program with Theano layers of its own
through `fastvae.fit`, `user-pm` the same through stock `pm.fit` after `import fastvae`; stock runs the same program.
Every program starts from the same weights. Printed are the absolute figures, the median ratio with its bootstrap
interval, peak memory, the load, and how well the losses agree on the same batches and noise, at step 0 and after 20
steps.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from bench import tables  # noqa: E402
from bench.pairing import (  # noqa: E402
    AGREEMENT,
    Disagreement,
    Worker,
    closing,
    difference,
    disturbance,
    fastest,
    in_turn,
    machine,
    ratio,
    theano_workers,
    write_problem,
)
from bench.problem import BATCH_SIZES, QUICK_BATCH  # noqa: E402

WORKS = {  # the model, stock's program, fastvae's
    "conv": ("conv", "seed", "seed"),
    "mlp": ("mlp", "seed", "seed"),
    "conv64": ("conv64", "seed", "seed"),
    "user": ("conv", "user", "user"),
    "user-pm": ("conv", "user", "user-pm"),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--threads", type=int, default=2, help="of fastvae; stock takes the better of 1 and these")
    parser.add_argument("--rounds", type=int, default=6, help="blocks of each program")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a block")
    parser.add_argument("--quick", action="store_true", help="a toy model, 2 rounds of half a second")
    args = parser.parse_args(argv)
    try:
        measure(**vars(args))
    except Disagreement as error:
        raise SystemExit(str(error)) from None


def measure(
    work: str, threads: int, rounds: int, seconds: float, quick: bool = False, profile: str | None = None
) -> None:
    """Time a work in fastvae and in stock, in turn, and print the figures.

    Parameters
    ----------
    work : str
        One of `WORKS`.
    threads : int
        Of fastvae; stock runs with one and with as many.
    rounds : int
        Blocks of each program.
    seconds : float
        Length of a block.
    quick : bool
        Take a toy model and two rounds of half a second.
    profile : str, optional
        fastvae's device profile; by default the environment's.

    Raises
    ------
    Disagreement
        If the losses differ by more than 1e-4.
    """
    if quick:
        rounds, seconds = 2, 0.5
    model, program, way = WORKS[work]
    size = f"toy size, batch {QUICK_BATCH}" if quick else f"batch {BATCH_SIZES[model]}"
    print(f"{work}, {size}, {datetime.date.today()}, {machine()}", flush=True)
    with tempfile.TemporaryDirectory() as folder, closing([]) as workers:
        path = pathlib.Path(folder, "problem.npz")
        environ = write_problem(path, model, quick)
        workers += theano_workers(path, way, program, threads, environ, profile)
        assert_agreement(started(workers))
        in_turn(workers, rounds, seconds)
        report(workers)


def started(workers: list[Worker]) -> float:
    """Start fastvae beside stock, and return how far apart their losses are."""
    ours, first, *more = workers
    with concurrent.futures.ThreadPoolExecutor() as pool:
        losses = pool.submit(lambda: (ours.start(), ours.check())[-1])
        first.start()
        reference = pool.submit(first.check)
        for worker in more:  # they find the C modules of the first
            worker.start()
        return difference(losses.result(), reference.result())


def assert_agreement(apart: float) -> None:
    """Print how far apart the losses are; where they do not agree, no figure counts."""
    print(f"losses at step 0 and after 20 steps differ by {apart:.1e}", flush=True)
    if not apart <= AGREEMENT:
        raise Disagreement(f"the programs do not agree on the loss: more than {AGREEMENT:g} apart, no figure counts")


def report(workers: list[Worker]) -> None:
    """Print the figures; the first worker is fastvae, the others are stock."""
    ours, *stocks = workers
    print("\n" + tables.table(["program", "ms a step", "it/s", "peak MiB", "threads"], map(_cells, workers)))
    best = fastest(stocks)
    median, low, high = ratio(best, ours)
    print(f"\n{best.name} / fastvae: {median:.2f}, 95 % interval {low:.2f} to {high:.2f}, {len(ours.blocks)} rounds")
    print(f"fastvae's profile is {ours.settings['profile']}, stock runs on the CPU; ", end="")
    print(f"the loss is fetched every {ours.settings['fetch_every']} step; {disturbance(workers)}")


def _cells(worker):
    """A worker's row."""
    ms, settings = worker.milliseconds, worker.settings
    threads = ", ".join(f"{name}={value}" for name, value in settings["threads"].items())
    return [worker.name, f"{ms:.3g}", f"{1000 / ms:.3g}", f"{settings['peak']:.0f}", threads]


if __name__ == "__main__":
    main()
