"""The step of a seed model in fastvae's ways and in PyTorch's, timed in turn on one GPU (a part of `gpu_report.py`).

Each program is a process. All are started and compile side by side; then the GPU is one program's at a time: its losses
are checked against stock PyMC3's, it warms up, and blocks of all follow in turn (A B B A, `pairing.py`).
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from bench.gpu_host import SHARE, Budget, CompileFolders, OutOfTime, ended, one_line
from bench.pairing import Worker, WorkerFailed, difference, disturbance, ratio, write_problem
from bench.problem import Problem, load

GRAPHS = "cuda_graphs"  # the profile's key
VARIANTS = {"eager": "PyTorch eager", "compile": "PyTorch compile", "graphs": "PyTorch compile + CUDA graphs"}
WHERE = {"float32": "cuda", "tf32": "cuda-tf32"}  # both our profiles and the PyTorch worker's names
AGREEMENT = {"float32": 1e-4, "tf32": 1e-2}  # relative difference of losses from stock's
ROUNDS_AT_LEAST = 2
FAILURES = (WorkerFailed, OutOfTime, OSError, ValueError)


class Way(NamedTuple):
    """One of fastvae's: its row's name, precision, keys of the profile, and the models for which it makes sense."""

    name: str
    precision: str
    options: dict
    models: tuple = ("conv", "mlp")


# The most important first: what is late is left out.
WAYS = (
    Way("fastvae", "float32", {}),
    Way("fastvae without graphs", "float32", {GRAPHS: "false"}),
    Way("fastvae with search", "float32", {"cudnn_search": "true"}, ("conv",)),
    Way("fastvae", "tf32", {}),
    Way("fastvae with search", "tf32", {"cudnn_search": "true"}, ("conv",)),
)
QUICK_WAYS = {"conv": WAYS[:4], "mlp": WAYS[:1]}


class Program(NamedTuple):
    """A program that is timed: its row's name and precision, and its process or why there is none."""

    name: str
    precision: str
    worker: Worker | None
    missing: str = ""


class Speed:
    """One model's comparison; `prepare` may run in a thread beside other parts, `run` needs the GPU for itself.

    Parameters
    ----------
    model : {"conv", "mlp"}
    quick : bool
        Toy size.
    torch : (str or None, str)
        The interpreter that has PyTorch, or why there is none.
    folders : CompileFolders
    """

    def __init__(self, model: str, quick: bool, torch: tuple[str | None, str], folders: CompileFolders) -> None:
        self.model, self.quick, self.folders = model, quick, folders
        self.torch_python, self.without_torch = torch
        self.programs: list[Program] = []
        self.waiting: list[concurrent.futures.Future] = []
        self.reference: list[float] | str | None = None
        self.problem: Problem | None = None

    def prepare(self, folder: pathlib.Path, pool: concurrent.futures.Executor, budget: Budget, until: float) -> None:
        """Write the problem, start all programs, and let the pool compile them."""
        path = folder / f"{self.model}.npz"
        stock_environ = write_problem(path, self.model, self.quick, environ=self.folders.environ("cpu-blas"))
        self.problem = load(path)
        self.programs = list(self._programs(path))
        self.waiting = [
            pool.submit(attempt, program.worker.prepare, program.worker, budget.left(until))
            for program in self.programs
            if program.worker
        ]
        self.reference = carried_reference(self.problem)
        if self.reference is None:
            self.waiting.append(pool.submit(self._ask_stock, path, stock_environ, budget, until))

    def _ask_stock(self, path, environ, budget, until):
        worker = Worker("stock", "bench.stock", (path, "seed"), {**environ, "OMP_NUM_THREADS": "1"})
        try:
            self.reference = attempt(worker.check, worker, budget.left(until))
        finally:
            worker.kill()

    def _programs(self, path: pathlib.Path) -> Iterator[Program]:
        """fastvae's ways and PyTorch's, those of strict float32 first."""
        ways = QUICK_WAYS[self.model] if self.quick else [way for way in WAYS if self.model in way.models]
        for precision, where in WHERE.items():
            for way in (way for way in ways if way.precision == precision):
                environ = self.folders.environ(where, **way.options)
                yield Program(way.name, precision, Worker(way.name, "bench.fastvae_worker", (path, "seed"), environ))
            for variant, name in VARIANTS.items():
                worker, arguments = None, (path, variant, where)
                if self.torch_python:
                    environ = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
                    title = f"{name}, {precision}"
                    worker = Worker(title, "bench.peers.torch_worker", arguments, environ, self.torch_python)
                yield Program(name, precision, worker, self.without_torch and f"not installed: {self.without_torch}")

    def run(self, rounds: int, seconds: float, budget: Budget, until: float, found: dict) -> None:
        """Fill in `found`, the model's place in the report: `work`, `rows`, `load`, `failures`, `best`."""
        concurrent.futures.wait(self.waiting)
        if self.problem is None:
            raise OutOfTime("left out: its programs were not ready")
        found["work"] = {"gflop": arithmetic(self.problem) / 1e9, "batch_size": self.problem.batch_size}
        found["failures"], reference = [], self.reference
        if not isinstance(reference, list):
            found["failures"].append(f"no losses of stock PyMC3, the next program's take their place: {reference}")
            reference = None
        found["rows"] = rows = []
        for program in self.programs:
            rows.append(started(program, reference, budget, until, **({"fetch_every": 1} if self.quick else {})))
            reference = rows[-1].pop("losses", None) if reference is None else reference
            rows[-1].pop("losses", None)
        timed(self.programs, rows, rounds, seconds, budget, until)
        for program, row in zip(self.programs, rows):
            if "failed" in row:
                found["failures"].append(f"{program.name}, {program.precision}: {row['failed']}")
            elif program.worker and program.worker.blocks:
                row.update(figures(program, self.programs, rows))
        running = [program.worker for program, row in zip(self.programs, rows) if "milliseconds" in row]
        found["load"] = disturbance(running) if running else ""
        found["best"] = best(rows)

    def close(self) -> None:
        """End all programs."""
        for program in self.programs:
            if program.worker:
                program.worker.kill()


def attempt(call, worker: Worker, seconds: float) -> object:
    """What a request to a worker returns within some seconds, or why it returns nothing, as text."""
    try:
        with ended(worker.process, seconds):
            return call()
    except WorkerFailed as failure:
        return one_line(str(failure))
    except FAILURES as failure:
        return str(failure)


def started(program: Program, reference: list[float] | None, budget: Budget, until: float, **options: object) -> dict:
    """A program's row; it is warm, started with these options, if its losses agree with those of the reference."""
    row = {"program": program.name, "precision": program.precision}
    if program.worker is None:
        return {**row, "missing": program.missing}
    try:
        budget.check(until)
    except OutOfTime as late:
        return {**row, "missing": str(late)}
    losses = attempt(program.worker.check, program.worker, budget.left(until))
    if isinstance(losses, str):
        return {**row, "failed": losses}
    row["losses"] = losses
    row["gap"], most = difference(losses, reference or losses), AGREEMENT[program.precision]
    if not row["gap"] <= most:
        return {**row, "failed": f"its losses are {row['gap']:.1e} from stock's, more than {most:g}: no figure counts"}
    failure = attempt(lambda: program.worker.start(**options), program.worker, budget.left(until))
    return {**row, "failed": failure} if failure else row


def timed(programs: list[Program], rows: list[dict], rounds: int, seconds: float, budget: Budget, until: float) -> None:
    """Blocks of all programs that are warm, every other round in reverse order; one that fails drops out.

    There are fewer rounds if the time is short, but two at least.
    """
    pairs = [(p, row) for p, row in zip(programs, rows) if p.worker and not {"failed", "missing"} & row.keys()]
    for i in range(rounds):
        if i >= ROUNDS_AT_LEAST and budget.left(until) < len(pairs) * max(seconds, 0.5):
            break
        for program, row in pairs if i % 2 == 0 else pairs[::-1]:
            if "failed" not in row:
                worker = program.worker
                answer = attempt(lambda worker=worker: worker.block(seconds), worker, budget.left() + 10)
                if isinstance(answer, str):
                    row["failed"] = answer


def figures(program: Program, programs: list[Program], rows: list[dict]) -> dict:
    """Milliseconds a step, and how many times fastvae's of the same precision that is."""
    worker, precision = program.worker, program.precision
    row = dict(milliseconds=worker.milliseconds, settings=worker.settings, blocks=worker.blocks)
    ours = next(i for i, other in enumerate(programs) if other.precision == precision)  # fastvae comes first
    if "failed" not in rows[ours] and programs[ours].worker.blocks:
        row["times_fastvae"] = ratio(worker, programs[ours].worker)
    return row


def best(rows: list[dict]) -> dict[str, dict]:
    """For each precision, the quickest of fastvae's ways and of PyTorch's: its name and its steps a second."""
    found = {}
    for precision in WHERE:
        timed_rows = [row for row in rows if row["precision"] == precision and "milliseconds" in row]
        for whose in ("fastvae", "PyTorch"):
            own = [row for row in timed_rows if row["program"].startswith(whose)]
            if own:
                first = min(own, key=lambda row: row["milliseconds"])
                rate = 1000 / first["milliseconds"]
                found.setdefault(precision, {})[whose] = {"program": first["program"], "steps_a_second": rate}
    return found


def digest(problem: Problem) -> str:
    """A hash of everything that the losses depend on."""
    found = hashlib.sha256(json.dumps([problem.kind, problem.config, list(problem.maps)]).encode())
    for array in (problem.images, *problem.weights, problem.batches, problem.noise):
        found.update(array.tobytes())
    return found.hexdigest()


def carried_reference(problem: Problem) -> list[float] | None:
    """Stock's losses on this very problem, if the bundle has them: then they need not be computed again."""
    path = SHARE / "stock.json"
    return json.loads(path.read_text()).get(digest(problem)) if path.is_file() else None


def arithmetic(problem: Problem) -> int:
    """Floating point operations of a step: each layer's product forward, for its weights and for what is below it.

    Below the first layer is nothing; element-wise work is left out. A convolution takes a product of all its weights at
    every pixel of its smaller image.
    """
    sizes, size = [], problem.images.shape[2:]
    n = len(problem.config.get("strides", ()))
    weights = problem.weights[0::2]
    for weight, stride, pad in zip(weights, problem.config.get("strides", ()), problem.config.get("padding", ())):
        size = [(length + 2 * p - k) // s + 1 for length, p, k, s in zip(size, pad, weight.shape[2:], stride)]
        sizes.append(math.prod(size))
    pixels = [*sizes, *[1] * (len(weights) - 2 * n), *sizes[::-1]]
    forward = [2 * weight.size * p for weight, p in zip(weights, pixels)]
    return problem.batch_size * (3 * sum(forward) - forward[0])
