"""Time the seed models beside busy processes, in fastvae and PyTorch, in turn: a table.

    python bench/under_load.py [--works conv mlp conv64] [--busy 0 1 2] [--python torch=/path/to/python]

Beside k busy processes on c cores, a program's fair share is its quiet time times (c + k) / c. The quiet rounds are
those of this run; all programs start from one file of weights, batches and noise, and agree on the loss before anything
is timed. The table goes to `bench/results/under_load.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bench import tables  # noqa: E402
from bench.compare import PEERS, WORKS, Missing, agreeing, environment, interpreter  # noqa: E402
from bench.pairing import (  # noqa: E402
    Worker,
    agreement,
    closing,
    in_turn,
    machine,
    program,
    theano_workers,
    write_problem,
)
from bench.problem import SEED  # noqa: E402


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def fair_share(processes: int, cores: int) -> float:
    """What a program's time grows to beside so many busy processes, if all get the same.

    Examples
    --------
    >>> fair_share(1, cores=2)
    1.5
    """
    return (cores + processes) / cores


def times(workers: list[Worker], numbers: Sequence[int], rounds: int, seconds: float) -> dict[int, list[float]]:
    """Milliseconds a step of each worker, timed in turn, by the number of busy processes beside them."""
    found = {}
    for k in numbers:
        for worker in workers:
            worker.blocks.clear()
        with busy(k):
            in_turn(workers, rounds, seconds)
        found[k] = [worker.milliseconds for worker in workers]
    return found


def measure(work: str, python: str | None, args: argparse.Namespace) -> list[list[str]]:
    """A row for each program and number of busy processes: times of one seed model."""
    cores, faults = len(os.sched_getaffinity(0)), {}
    with tempfile.TemporaryDirectory() as folder, closing([]) as workers:
        path = pathlib.Path(folder, "problem.npz")
        environ = write_problem(path, work, args.quick)
        workers += theano_workers(path, program(work), program(work), args.threads, environ, stock=False)
        for peer in PEERS:
            if python is not None and peer.environment == "torch" and work in peer.works:
                threads = {"OMP_NUM_THREADS": str(args.threads)}
                workers.append(Worker(peer.name, "bench.peers.torch_worker", (path, *peer.variant), threads, python))
        running = agreeing(workers, agreement(work), faults)
        found = times(running, args.busy, args.rounds, args.seconds)
    rows = []
    for k, column in found.items():
        for worker, ms, quiet in zip(running, column, found[args.busy[0]]):
            share = quiet * fair_share(k, cores) / fair_share(args.busy[0], cores)
            rows.append([WORKS[work], str(k), worker.name, f"{ms:.3g}", f"{ms / share:.2f}"])
    return rows + [[WORKS[work], "", name, fault, ""] for name, fault in faults.items()]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="toy models, 2 rounds of half a second")
    parser.add_argument("--works", nargs="+", choices=SEED, default=list(SEED), help="which models")
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1, 2], help="numbers of busy processes")
    parser.add_argument("--no-peers", action="store_true", help="fastvae alone")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5, help="blocks of each program")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a block")
    parser.add_argument("--python", type=interpreter, action="append", default=[], metavar="torch=PATH")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder of the table")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.seconds = 2, 0.5
    python, heading = None, f"{datetime.date.today()}, {machine()}, {args.threads} threads{', toy size' * args.quick}"
    if not args.no_peers:
        try:
            python = str(environment("torch", dict(args.python)))
        except Missing as missing:
            heading += f"; without PyTorch: {missing}"
    rows = [row for work in args.works for row in measure(work, python, args)]
    columns = ["work", "busy processes", "program", "ms a step", "times its own fair share"]
    text = f"{heading}; medians of {args.rounds} rounds in turn.\n\n{tables.table(columns, rows)}\n"
    tables.write(args.out / "under_load.md", text)
    print(text)


if __name__ == "__main__":
    main()
