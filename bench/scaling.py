"""How the step's time grows: with batch size, threads, image size, latent size and filters, against what bounds it.

    python bench/scaling.py [--quick] [--out bench/results]

Writes a table, `scaling.md`, and log-log plots with the fitted exponents, `scaling.png`. The bound of a step is the sum
over its Ops of their arithmetic at the speed of a large matrix product or of their memory traffic at the speed of a
copy, whichever is longer, both measured first with as many threads (as in `where_time_goes.py`). Arithmetic is that of
the direct algorithm, so Winograd's convolutions can beat it.
"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import fastvae  # noqa: E402  isort: skip  (before theano)
import numpy as np  # noqa: E402

from bench import pairing, tables, where_time_goes  # noqa: E402
from bench.fastvae_worker import seed_step  # noqa: E402
from bench.problem import SEED, Problem  # noqa: E402
from fastvae import timing  # noqa: E402
from fastvae.devices import threads  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BASE = dict(batch=64, size=28, latent=2, filters=64)
WORDS = dict(batch="batch size", size="rows and columns", latent="latent dimensions", filters="filters")
SWEEPS = [  # model, what is varied, its values
    ("conv", "batch", (1, 4, 16, 64, 256, 1024)),
    ("conv", "size", (14, 20, 28, 40, 56)),
    ("conv", "filters", (8, 16, 32, 64, 128)),
    ("conv", "latent", (2, 16, 128, 1024)),
    ("mlp", "batch", (1, 4, 16, 64, 256, 1024)),
    ("mlp", "latent", (2, 16, 128, 1024)),
]
QUICK = [("conv", "filters", (4, 8)), ("mlp", "batch", (1, 8))]


class Point(NamedTuple):
    """One step: the value varied, milliseconds a step, and its bound in milliseconds."""

    value: int
    ms: float
    bound: float


class Curve(NamedTuple):
    """A sweep with a number of threads."""

    model: str
    varied: str
    threads: int
    points: list

    @property
    def exponent(self) -> tuple[float, float]:
        """b of the power a value**b that fits the times best, by least squares of logarithms; and a."""
        values, times = (np.log([getattr(point, name) for point in self.points]) for name in ("value", "ms"))
        slope, offset = np.polyfit(values, times, 1)
        return float(slope), float(np.exp(offset))


def step_of(model: str, batch: int, size: int, latent: int, filters: int) -> Callable:
    """fastvae's step of a seed model of another size, on random images."""
    config = dict(SEED[model], image_shape=(1, size, size), n_latent=latent)
    if model == "conv":
        config["filters"] = filters
    images = np.random.default_rng(0).random((max(batch, 1024), 1, size, size), dtype="float32")
    problem = Problem(model, config, (), images, [], np.empty((1, batch)), None)
    return seed_step(problem, given=False)


def bound(step: Callable, gflops: float, bandwidth: float) -> float:
    """Milliseconds that a compiled step takes at least, once it has been called."""

    def shape(variable):
        return np.shape(step.fn.storage_map[variable][0])

    seconds = 0.0
    for node in step.maker.fgraph.toposort():
        _, work = where_time_goes.group_and_work(node, shape)
        seconds += max(work / gflops, where_time_goes.traffic(node, shape) / bandwidth) / 1e9
    return 1000 * seconds


def speeds(count: int) -> tuple[float, float]:
    """GFLOP/s of a large matrix product and GB/s of a copy, with so many threads."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:count])  # a copy takes as many threads as there are cores
    try:
        bandwidth = where_time_goes.copy_speed()
    finally:
        os.sched_setaffinity(0, cores)
    return where_time_goes.product_speed(), bandwidth


def sweep(
    sweeps: Iterable[tuple], counts: Iterable[int], blocks: int
) -> tuple[list[Curve], dict[int, tuple[float, float]], float]:
    """Time all steps, each once.

    Returns
    -------
    curves : list of Curve
    rates : dict
        (GFLOP/s, GB/s) by the number of threads.
    others : float
        Cores that other processes kept busy, in the worst block.
    """
    curves, rates, others, profile = [], {}, 0.0, fastvae.profiles.active()
    for count in counts:
        threads.limit(count, profile.blas_path, profile.backend)
        rates[count], known = speeds(count), {}
        for model, varied, values in sweeps:
            for value in values:
                sizes = dict(BASE, **{varied: value})
                key = (model, *sizes.values())
                if key not in known:
                    step = step_of(model, **sizes)
                    measured = timing.measure(step, blocks=blocks)
                    others = max(others, measured.others or 0.0)
                    known[key] = measured.milliseconds, bound(step, *rates[count])
                    print(model, sizes, pairing.count(count), f"{known[key][0]:.3g} ms", file=sys.stderr, flush=True)
            points = [Point(v, *known[(model, *dict(BASE, **{varied: v}).values())]) for v in values]
            curves.append(Curve(model, varied, count, points))
    return curves, rates, others


def table(curves: list[Curve]) -> str:
    """Markdown: a row for each step, and one for each fitted exponent."""
    steps = tables.table(
        ["model", "varied", "", "threads", "ms a step", "bound, ms", "ms / bound"],
        (
            [curve.model, WORDS[curve.varied], value, curve.threads, f"{ms:.3g}", f"{least:.3g}", f"{ms / least:.1f}"]
            for curve in curves
            for value, ms, least in curve.points
        ),
    )
    powers = tables.table(
        ["model", "varied", "threads", "time grows as its power"],
        ([curve.model, WORDS[curve.varied], curve.threads, f"{curve.exponent[0]:.2f}"] for curve in curves),
    )
    return f"{steps}\n\n{powers}\n"


def chart(curves: list[Curve], path: pathlib.Path) -> None:
    """A log-log panel for each sweep: measured, the fitted power, and the bound."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = list(dict.fromkeys((curve.model, curve.varied) for curve in curves))
    rows = -(-len(panels) // 3)
    figure, grid = plt.subplots(rows, 3, figsize=(13, 3.8 * rows), squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, panel in zip(grid.flat, panels):
        for i, curve in enumerate(curve for curve in curves if (curve.model, curve.varied) == panel):
            colour, (exponent, factor) = f"C{i}", curve.exponent
            values, ms, least = (np.array(column) for column in zip(*curve.points))
            axes.loglog(values, ms, "o", color=colour, label=pairing.count(curve.threads))
            axes.loglog(values, factor * values**exponent, "-", color=colour, label=f"power {exponent:.2f}")
            axes.loglog(values, least, ":", color=colour, label="bound")
        axes.set(title=panel[0], xlabel=WORDS[panel[1]], ylabel="ms a step")
        axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two short sweeps of one block each with one thread")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder of table and plots")
    args = parser.parse_args(argv)
    counts = [1] if args.quick else sorted({1, threads.requested().count})
    heading = f"{datetime.date.today()}, {pairing.machine()}, profile {fastvae.profiles.active().name}"
    curves, rates, others = sweep(QUICK if args.quick else SWEEPS, counts, 1 if args.quick else 3)
    measured = "; ".join(f"{pairing.count(n)}: {g:.0f} GFLOP/s, {b:.0f} GB/s" for n, (g, b) in rates.items())
    base = ", ".join(f"{WORDS[name]} {value}" for name, value in BASE.items())
    text = (
        f"Step time of the seed models{', quick' * args.quick}. {heading}; where not varied: {base}. {measured}. "
        f"Other processes kept at most {others:.2f} cores busy during a block.\n\n{table(curves)}"
    )
    tables.write(args.out / "scaling.md", text)
    chart(curves, args.out / "scaling.png")
    print(text)


if __name__ == "__main__":
    main()
