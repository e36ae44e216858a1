"""A GPU's report: is every Op right, does the seed model train, and how fast, against PyTorch and the card's peak.

    python -m bench.gpu_report --out report [--torch-python /usr/bin/python3] [--cuda-path FOLDERS] [--quick]

Writes `report.json` and `report.md` into the folder, anew after every part. A part that fails is in both with its
message, the others still run, and the exit status is then 1. PyTorch comes from another interpreter; without one its
rows say so.

    operations  every kind of Op under `cuda` and `cuda-tf32` against numpy in float64 (`bench/gpu_checks.py`)
    training    the seed model on real images under both (`bench/gpu_training.py`)
    speed       its step under both and PyTorch's, each in a process of its own, blocks in turn (A B B A, `pairing.py`),
                once its losses agree with stock PyMC3's on the CPU
    peak        the card's float32 peak (`bench/card.py`), of which each program's arithmetic is a share
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
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import card, gpu_markdown  # noqa: E402
from bench.pairing import (  # noqa: E402
    Worker,
    WorkerFailed,
    closing,
    difference,
    disturbance,
    machine,
    ratio,
    write_problem,
)
from bench.problem import Problem, load  # noqa: E402

PROFILES = {"float32": "cuda", "tf32": "cuda-tf32"}
VARIANTS = {"eager": "PyTorch eager", "compile": "PyTorch compile", "graphs": "PyTorch compile + CUDA graphs"}
AGREEMENT = {"float32": 1e-4, "tf32": 1e-2}  # relative difference of losses from stock's
FALLEN = 0.9  # of the first loss: what the last one must be below
PATIENCE = 1800  # seconds for a part's process


class Program(NamedTuple):
    """A program that is timed: its row's name and precision, and its process or why there is none."""

    name: str
    precision: str
    worker: Worker | None
    missing: str = ""


class Report:
    """What was found so far, on disk after every part."""

    def __init__(self, out, about):
        self.out, self.found = out, {**about, "failures": []}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Record what goes wrong in a part, and write the report in any case."""
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            yield
        except Exception as error:  # the other parts still run
            self.failed(f"{name}: {type(error).__name__}: {error}")
        finally:
            self.write()

    def failed(self, message: str) -> None:
        message = " ".join(message.split())
        self.found["failures"].append(message)
        print(f"failed: {message}", file=sys.stderr, flush=True)

    def write(self) -> None:
        (self.out / "report.json").write_text(json.dumps(finite(self.found), indent=1, allow_nan=False) + "\n")
        (self.out / "report.md").write_text(gpu_markdown.markdown(self.found))


def finite(value: object) -> object:
    """The value with None for each number in it that JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def child(module: str, precision: str, *arguments: str) -> object:
    """The JSON on the last line of a module's output, run under the profile of a precision."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    environ = {**os.environ, "FASTVAE_PROFILE": PROFILES[precision]}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        what = f"{module} under {PROFILES[precision]} ended with status {done.returncode}"
        raise WorkerFailed(f"{what}: {done.stderr.strip()[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def operations(report: Report, quick: bool) -> None:
    """Check every kind of Op under both precisions."""
    report.found["operations"] = {}
    for precision in PROFILES:
        with report.part(f"operations, {precision}"):
            rows = child("bench.gpu_checks", precision, *["--quick"] * quick)
            report.found["operations"][precision] = rows
            wrong = [f"{row['group']} ({row['name']})" for row in rows if not row["passed"]]
            if wrong:
                report.failed(f"operations, {precision}: {len(wrong)} of {len(rows)} are wrong: {', '.join(wrong)}")


def training(report: Report, steps: int, quick: bool) -> None:
    """Train the seed model under both precisions."""
    report.found["training"] = {}
    for precision in PROFILES:
        with report.part(f"training, {precision}"):
            row = child("bench.gpu_training", precision, "--steps", str(steps), *["--quick"] * quick)
            report.found["training"][precision] = row
            if not row["last"] < FALLEN * row["first"]:
                report.failed(f"training, {precision}: the loss did not fall, {row['first']:.5g} to {row['last']:.5g}")


def programs(path: pathlib.Path, torch_python: str | None) -> Iterator[Program]:
    """fastvae under both precisions, and PyTorch in each of its ways."""
    for precision, profile in PROFILES.items():
        worker = Worker(profile, "bench.fastvae_worker", (path, "seed"), {"FASTVAE_PROFILE": profile})
        yield Program(f"fastvae, {profile}", precision, worker)
    missing = "" if torch_python else "give --torch-python PATH, an interpreter that has it"
    if torch_python and not os.access(torch_python, os.X_OK):
        missing = f"no interpreter {torch_python}"
    if not missing:
        done = subprocess.run([torch_python, "-c", "import numpy, torch"], capture_output=True, text=True)
        missing = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1] if done.returncode else ""
    for precision in PROFILES:
        where = "cuda" if precision == "float32" else "cuda-tf32"
        for variant, name in VARIANTS.items():
            worker, arguments = None, (path, variant, where)
            if not missing:
                environ = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
                worker = Worker(f"{name}, {precision}", "bench.peers.torch_worker", arguments, environ, torch_python)
            yield Program(name, precision, worker, missing and f"not installed: {missing}")


def speed(report: Report, args: argparse.Namespace) -> None:
    """Time the seed model's step in every program, in turn, once its losses agree with stock's."""
    with tempfile.TemporaryDirectory() as folder, closing([]) as workers:
        path = pathlib.Path(folder, "problem.npz")
        environ = write_problem(path, "conv", args.quick)
        problem = load(path)
        report.found["work"] = {"gflop": arithmetic(problem) / 1e9, "batch_size": problem.batch_size}
        stock = Worker("stock", "bench.stock", (path, "seed"), {**environ, "OMP_NUM_THREADS": "1"})
        workers.append(stock)
        found = []
        for program in programs(path, args.torch_python):
            found.append(program)
            workers += [program.worker] if program.worker else []
        with concurrent.futures.ThreadPoolExecutor(1) as pool:  # stock's is on the CPU
            reference = pool.submit(attempt, stock)
            losses = [program.worker and attempt(program.worker) for program in found]
            reference = reference.result()
        if isinstance(reference, str):
            report.failed(f"speed, stock PyMC3 on the CPU, whose place the next program takes: {reference}")
            reference = next((each for each in losses if isinstance(each, list)), None)
        rows = [started(program, each, reference) for program, each in zip(found, losses)]
        report.found["speed"] = rows
        timed(found, rows, args.rounds, args.seconds)
        for program, row in zip(found, rows):
            if "failed" in row:
                report.failed(f"speed, {program.name}, {program.precision}: {row['failed']}")
            elif program.worker:
                row.update(figures(program, found, rows))
                row["of_peak"] = share(row["milliseconds"], report.found)
        running = [program.worker for program, row in zip(found, rows) if "milliseconds" in row]
        report.found["load"] = disturbance(running) if running else ""


def attempt(worker: Worker) -> list[float] | str:
    """A worker's losses on the problem's own batches and noise, or why there are none."""
    try:
        return worker.check()
    except (WorkerFailed, ValueError) as failure:
        return str(failure)


def started(program: Program, losses: list[float] | str, reference: list[float]) -> dict:
    """A program's row; it is warm if its losses agree with those of the reference."""
    row = {"program": program.name, "precision": program.precision}
    if program.worker is None:
        return {**row, "missing": program.missing}
    if isinstance(losses, str):
        return {**row, "failed": losses}
    row["gap"], most = difference(losses, reference), AGREEMENT[program.precision]
    if not row["gap"] <= most:
        return {**row, "failed": f"its losses are {row['gap']:.1e} from stock's, more than {most:g}: no figure counts"}
    try:
        program.worker.start()
    except (WorkerFailed, ValueError) as failure:
        return {**row, "failed": str(failure)}
    return row


def timed(found: list[Program], rows: list[dict], rounds: int, seconds: float) -> None:
    """Blocks of all programs that are warm, every other round in reverse order; one that fails drops out."""
    pairs = [(program, row) for program, row in zip(found, rows) if program.worker and "failed" not in row]
    for i in range(rounds):
        for program, row in pairs if i % 2 == 0 else pairs[::-1]:
            if "failed" not in row:
                try:
                    program.worker.block(seconds)
                except (WorkerFailed, ValueError) as failure:
                    row["failed"] = str(failure)


def figures(program: Program, found: list[Program], rows: list[dict]) -> dict:
    """Milliseconds a step, and how many times fastvae's of the same precision that is."""
    worker, precision = program.worker, program.precision
    row = dict(milliseconds=worker.milliseconds, settings=worker.settings, blocks=worker.blocks)
    ours = next(i for i, other in enumerate(found) if other.precision == precision)  # fastvae comes first
    if "failed" not in rows[ours]:
        row["times_fastvae"] = ratio(worker, found[ours].worker)
    return row


def share(milliseconds: float, found: dict) -> float | None:
    """The share of the card's float32 peak that a step in so many milliseconds is; None if the peak is not known."""
    peak = found.get("card", {}).get("peak_tflops")
    return found["work"]["gflop"] / milliseconds / peak if peak else None


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


def about() -> dict:
    """The machine without its card: date, processor, and what `fastvae devices` finds."""
    done = subprocess.run([sys.executable, "-m", "fastvae", "devices"], cwd=ROOT, capture_output=True, text=True)
    found = (done.stdout or done.stderr).splitlines()
    return {"date": str(datetime.date.today()), "machine": machine(), "devices": found}


def the_card(report: Report) -> None:
    """What the driver says of the card, and its peak."""
    with report.part("card"):
        found = card.card()
        report.found["card"] = {
            **found._asdict(),
            "lanes": found.lanes,
            "peak_tflops": found.peak / 1e12,
            "formula": card.FORMULA,
        }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of report.json and report.md")
    parser.add_argument("--torch-python", metavar="PATH", help="an interpreter that has PyTorch")
    parser.add_argument("--cuda-path", metavar="FOLDERS", help="where CUDA's libraries are, as for `fastvae devices`")
    parser.add_argument("--steps", type=int, default=300, help="of the training")
    parser.add_argument("--rounds", type=int, default=6, help="blocks of each program")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a block")
    parser.add_argument("--quick", action="store_true", help="toy sizes, 5 steps, 2 rounds of half a second")
    args = parser.parse_args(argv)
    if args.quick:
        args.steps, args.rounds, args.seconds = 5, 2, 0.5
    if args.cuda_path:
        os.environ["FASTVAE_CUDA_PATH"] = args.cuda_path
    args.out.mkdir(parents=True, exist_ok=True)
    report = Report(args.out, {**about(), "quick": args.quick})
    the_card(report)
    operations(report, args.quick)
    training(report, args.steps, args.quick)
    with report.part("speed"):
        speed(report, args)
    print(gpu_markdown.markdown(report.found))
    return 1 if report.found["failures"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
