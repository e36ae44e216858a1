"""The regression guard: is fastvae's step still as many times faster than stock PyMC3's as in the recorded runs?

    python bench/guard.py [conv mlp ...]    measure and judge; `pytest -m speed` does the same
    python bench/guard.py --record 3 [...]  measure each model with three sets of processes, add to guard.json

Both programs compute with one thread, in turn, so that the machine's mood does not fall on one of them alone, and what
counts is their processor time: a neighbour makes them wait, which is no fault of theirs. A second, identical fastvae
worker is measured in the same rounds: how far it seems to differ from the first is what this machine cannot tell apart,
and where that is too much nothing is judged; nor is a step called slower where other processes leave it no core. A loss
that shows only with several threads, or in waiting, is not seen here; `bench/measure.py` times those.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import datetime
import json
import math
import os
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402

from bench import pairing  # noqa: E402
from bench.networks import NETWORKS  # noqa: E402
from bench.pairing import Worker  # noqa: E402

HISTORY = pathlib.Path(__file__).resolve().parent / "guard.json"
MODELS = ("conv", "mlp", *NETWORKS)
SLOWDOWN = 1.2  # must be noticed: the limit is half-way between the recorded ratio and that of a step so much slower
ELSEWHERE = 2 / 3  # of the smallest recorded ratio: the limit on a processor without a record
NETWORKS_ELSEWHERE = 1 / 3  # the same of a user's network: stock's own speed varies by 2.7 from processor to processor
SPREAD = 0.15  # of the null pair, above which nothing is judged: from one standard error below its ratio to one above
CROWDED = 0.75  # of a core: where others leave less than that, nothing is called slower
STANDARD_ERROR = (16, 84)  # percentiles of the bootstrap
ROUNDS, SECONDS = {model: 12 if model == "mlp" else 6 for model in MODELS}, 0.5
RECORDED = 3  # measurements of one set of processes in a record
PASSED, NOISY, SLOWER = "passed", "NOISY, not judged", "SLOWER"


class Limit(NamedTuple):
    """The smallest ratio that passes, and where it is from."""

    ratio: float
    source: str


class Figures(NamedTuple):
    """One measurement: the ratio to stock, how far the null pair spread, cores that other processes kept busy."""

    ratio: float
    spread: float
    others: float


class Verdict(NamedTuple):
    """PASSED, NOISY or SLOWER, and the figures in one line."""

    word: str
    text: str

    def __str__(self):
        return f"{self.word}: {self.text}"


def limit(model: str, processor: str, records: list[dict]) -> Limit:
    """The limit on a processor: from its latest record, or a looser one from all where it has none.

    Returns
    -------
    Limit
    """
    records = [record for record in records if model in record["ratios"]]
    own = [record["ratios"][model] for record in records if record["processor"] == processor]
    if own:
        typical = statistics.median(own[-1])
        return Limit(typical / math.sqrt(SLOWDOWN), f"recorded on this processor: {typical:.2f}")
    least = min(min(record["ratios"][model]) for record in records)
    share = NETWORKS_ELSEWHERE if model in NETWORKS else ELSEWHERE
    source = f"NO RECORD of {processor}, so only a general limit: {share:.2f} of the smallest ratio elsewhere"
    return Limit(share * least, source)


@contextlib.contextmanager
def programs(model: str) -> Iterator[list[Worker]]:
    """Live workers of one thread each: fastvae, stock, and fastvae again."""
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder, pairing.closing([]) as workers:
        path = pathlib.Path(folder, "problem.npz")
        environ = pairing.write_problem(path, model)
        for name, module, own in (
            ("fastvae", "bench.fastvae_worker", {"FASTVAE_PROFILE": "cpu"}),
            ("stock PyMC3", "bench.stock", environ),
            ("fastvae again", "bench.fastvae_worker", {"FASTVAE_PROFILE": "cpu"}),
        ):
            workers.append(Worker(name, module, (path, pairing.program(model)), {**own, **one}))
        with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:  # they compile side by side
            list(pool.map(Worker.start, workers))
        yield workers


def measure(workers: list[Worker], rounds: int) -> Figures:
    """Time the workers in turn; the figures are those of all blocks since the workers last forgot theirs.

    Returns
    -------
    Figures
    """
    pairing.in_turn(workers, rounds, SECONDS)
    ours, stock, again = ([b["processor"] / b["steps"] for b in worker.blocks] for worker in workers)
    ratio = statistics.median(s / math.sqrt(a * b) for a, s, b in zip(ours, stock, again))
    _, low, high = pairing.median_interval(np.divide(ours, again), STANDARD_ERROR)
    busy = [block["others"] for worker in workers for block in worker.blocks if block["others"] is not None]
    return Figures(ratio, high / low - 1, statistics.median(busy) if busy else float("nan"))


def judge(model: str, figures: Figures, limit: Limit, cores: int | None = None) -> Verdict:
    """The verdict on one measurement, on a machine of so many cores (by default this one)."""
    left = (cores or len(os.sched_getaffinity(0))) - figures.others
    failed = NOISY if left < CROWDED else SLOWER
    word = NOISY if figures.spread > SPREAD else PASSED if figures.ratio >= limit.ratio else failed
    return Verdict(
        word,
        f"{model}: stock PyMC3 takes {figures.ratio:.2f} times fastvae's processor time, limit {limit.ratio:.2f} "
        f"({limit.source}); null pair spread {figures.spread:.1%}, others kept {figures.others:.2f} cores busy",
    )


def forget(workers: list[Worker]) -> None:
    """Forget the blocks that were timed."""
    for worker in workers:
        worker.blocks.clear()


def watch(model: str, workers: list[Worker], limit: Limit) -> Verdict:
    """Measure and judge; what does not pass is measured for as many rounds more, and all of them together count."""
    forget(workers)
    verdict = judge(model, measure(workers, ROUNDS[model]), limit)
    return verdict if verdict.word == PASSED else judge(model, measure(workers, ROUNDS[model]), limit)


def history() -> list[dict]:
    """The records of `guard.json`, oldest first."""
    return json.loads(HISTORY.read_text())["records"]


def guard(model: str) -> Verdict:
    """The verdict on fastvae as it stands.

    Returns
    -------
    Verdict
    """
    with programs(model) as workers:
        return watch(model, workers, limit(model, pairing.processor(), history()))


def record(models: Sequence[str], sets: int) -> dict:
    """Measure the models with `sets` sets of processes, and return a record of the ratios."""
    ratios = {model: [] for model in models}
    for model in [*models] * sets:
        with programs(model) as workers:  # what differs from process to process is part of what is typical
            for _ in range(RECORDED):
                forget(workers)
                figures = measure(workers, ROUNDS[model])
                ratios[model].append(round(figures.ratio, 3))
                print(model, *figures, flush=True)
    return {"date": str(datetime.date.today()), "processor": pairing.processor(), "ratios": ratios}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(MODELS)}; by default all")
    parser.add_argument("--record", type=int, metavar="SETS", help="only record, with so many sets of processes")
    args = parser.parse_args(argv)
    if args.record:
        stored = json.loads(HISTORY.read_text())
        stored["records"].append(record(args.models or MODELS, args.record))
        HISTORY.write_text(json.dumps(stored, indent=1) + "\n")
        return
    verdicts = [guard(model) for model in args.models or MODELS]
    print(*verdicts, sep="\n")
    if any(verdict.word == SLOWER for verdict in verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
