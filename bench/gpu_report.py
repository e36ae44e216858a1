"""A GPU's report: is every Op right, does the seed model train, and how fast, against PyTorch and the card's peak.

    python -m bench.gpu_report --out report [--torch-python /usr/bin/python3] [--minutes 5.5] [--quick]

Writes `report.json` and `report.md` into the folder, anew with every result, so that a report that is ended by SIGTERM
or by its time has all that was found before. A part that fails is in both with its message, the others still run, and
the exit status is then 1. PyTorch, and CUDA's libraries that came with it, are those of another interpreter.

The most important comes first, and what the time does not suffice for is left out and named. All programs start and
compile side by side, on all cores; from `speed` on, the GPU is one program's at a time.

    card           what it is, and its float32 peak (`bench/card.py`)
    operations     every kind of Op under `cuda` and `cuda-tf32` against numpy in float64 (`bench/gpu_checks.py`)
    training       the seed model on real images under both (`bench/gpu_training.py`)
    speed          the steps of both seed models in fastvae's ways (CUDA graphs, none, cuDNN's search) and in PyTorch's
                   (`bench/gpu_speed.py`), once their losses agree with stock PyMC3's, and which is the best
    batch sizes    both models at 16, 64, 256 and 1024 images a step (`bench/gpu_sizes.py`)
    where          the time of a step by groups of Ops, from CUDA events (`bench/gpu_where.py`)
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
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import card, gpu_host, gpu_markdown  # noqa: E402
from bench.gpu_host import Budget, Child, CompileFolders, OutOfTime  # noqa: E402
from bench.gpu_speed import WHERE, Speed  # noqa: E402
from bench.pairing import machine  # noqa: E402

MODELS = ("conv", "mlp")
FALLEN = 0.9  # of the first loss: what the last one must be below
MINUTES = 5.5  # with the unpacking of a bundle before it, six
# Up to which share of the time each part may go on.
UNTIL = {"operations": 0.35, "training": 0.4, "conv": 0.62, "mlp": 0.8, "batch sizes": 0.92, "where": 1.0}
SIZES, QUICK_SIZES = (16, 64, 256, 1024), (4,)


class Report:
    """What was found so far, on disk after every result; parts may run in several threads."""

    def __init__(self, out: pathlib.Path, about: dict, budget: Budget | None = None) -> None:
        self.out, self.budget, self.lock = out, budget or Budget(MINUTES), threading.RLock()
        self.found = {**about, "failures": [], "left_out": [], "times": {}}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Record when a part ran and what goes wrong in it, and write the report in any case."""
        self.say(f"{name} ...")
        began = self.budget.spent()
        try:
            yield
        except OutOfTime as late:
            with self.lock:
                self.found["left_out"].append(f"{name}: {late}")
            self.say(f"{name}: {late}")
        except Exception as error:  # the other parts still run
            self.failed(f"{name}: {type(error).__name__}: {error}")
        finally:
            with self.lock:
                self.found["times"][name] = [round(began, 1), round(self.budget.spent(), 1)]
            self.write()

    def failed(self, message: str) -> None:
        message = " ".join(message.split())
        with self.lock:
            self.found["failures"].append(message)
        self.say(f"failed: {message}")

    def say(self, message: str) -> None:
        """A line on standard error, with the time since the beginning."""
        print(f"[{self.budget.spent():6.1f} s] {message}", file=sys.stderr, flush=True)

    def write(self) -> None:
        with self.lock:
            self.found["seconds"] = round(self.budget.spent(), 1)
            replace(self.out / "report.json", json.dumps(finite(self.found), indent=1, allow_nan=False) + "\n")
            replace(self.out / "report.md", gpu_markdown.markdown(self.found))


def replace(path: pathlib.Path, text: str) -> None:
    """Write a file at once, so that a killed report leaves a whole one."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text(text)
    os.replace(unfinished, path)


def finite(value: object) -> object:
    """The value with None for each number in it that JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Run:
    """One report: its parts, and the processes that they started."""

    def __init__(self, report: Report, args: argparse.Namespace, folder: pathlib.Path) -> None:
        self.report, self.budget, self.args, self.folder = report, report.budget, args, folder
        self.quick = ["--quick"] * args.quick
        self.folders = CompileFolders()
        self.pool = concurrent.futures.ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0))))
        self.children: list[Child] = []
        torch = (args.torch_python, args.without_torch)
        self.speeds = {model: Speed(model, args.quick, torch, self.folders) for model in MODELS}

    def child(self, module: str, precision: str, *arguments: str) -> Child:
        """A process of ours under the profile of a precision."""
        child = Child(module, self.folders.environ(WHERE[precision]), *arguments, *self.quick)
        self.children.append(child)
        return child

    def all(self) -> None:
        """Run all parts."""
        with self.report.part("card"):
            the_card(self.report)
        if "card" not in self.report.found:
            return
        beside = [
            *(self.pool.submit(self.operations, precision) for precision in WHERE),
            *(self.pool.submit(self.training, precision) for precision in WHERE),
        ]
        ready = [self.pool.submit(self.prepare_speed, model) for model in MODELS]
        concurrent.futures.wait(beside)  # the GPU is then free
        for model, waiting in zip(MODELS, ready):
            waiting.result()
            self.speed(model)
        self.sizes_and_where()

    def operations(self, precision: str) -> None:
        """Check every kind of Op under a precision; each check is in the report as soon as it is done."""
        name = f"operations, {precision}"
        with self.report.part(name):
            with self.report.lock:
                rows = self.report.found.setdefault("operations", {}).setdefault(precision, [])
            for row in self.child("bench.gpu_checks", precision).lines(self.budget.left(UNTIL["operations"])):
                if isinstance(row, dict):
                    with self.report.lock:
                        rows.append(row)
                    told = row["message"] or f"{row['error']:.1e} of {row['limit']:g}"
                    self.report.say(f"{name}: {row['group']}, {row['name']}: {told}")
                    self.report.write()
            wrong = [f"{row['group']} ({row['name']})" for row in rows if not row["passed"]]
            if wrong:
                self.report.failed(f"{name}: {len(wrong)} of {len(rows)} are wrong: {', '.join(wrong)}")

    def training(self, precision: str) -> None:
        """Train the seed model under a precision."""
        name = f"training, {precision}"
        with self.report.part(name):
            child = self.child("bench.gpu_training", precision, "--steps", str(self.args.steps))
            (row,) = child.lines(self.budget.left(UNTIL["training"]))
            with self.report.lock:
                self.report.found.setdefault("training", {})[precision] = row
            self.report.say(f"{name}: loss {row['first']:.5g} to {row['last']:.5g} in {row['steps']} steps")
            if not row["last"] < FALLEN * row["first"]:
                self.report.failed(f"{name}: the loss did not fall, {row['first']:.5g} to {row['last']:.5g}")

    def prepare_speed(self, model: str) -> None:
        with self.report.part(f"speed, {model}: compilation begins"):
            self.speeds[model].prepare(self.folder, self.pool, self.budget, UNTIL[model])

    def speed(self, model: str) -> None:
        """Time all programs of one model."""
        name = f"speed, {model}"
        with self.report.part(name):
            found = self.report.found.setdefault("speed", {}).setdefault(model, {})
            try:
                self.speeds[model].run(self.args.rounds, self.args.seconds, self.budget, UNTIL[model], found)
            finally:
                self.speeds[model].close()
                peak = self.report.found["card"]["peak_tflops"]
                for row in found.get("rows", ()):
                    if "milliseconds" in row:
                        row["of_peak"] = found["work"]["gflop"] / row["milliseconds"] / peak
                        self.report.say(
                            f"{name}: {row['program']}, {row['precision']}: {1e3 / row['milliseconds']:.4g}/s"
                        )
                for failure in found.pop("failures", ()):
                    self.report.failed(f"{name}: {failure}")

    def sizes_and_where(self) -> None:
        """Batch sizes, then where the time goes; their processes compile side by side first."""
        sizes = map(str, QUICK_SIZES if self.args.quick else SIZES)
        sizes = [*sizes]
        try:
            self.budget.check(UNTIL["batch sizes"])
        except OutOfTime as late:
            self.report.found["left_out"].append(f"batch sizes, where the time goes: {late}")
            self.report.write()
            return
        children = {
            ("batch sizes", model): self.child("bench.gpu_sizes", "float32", model, *sizes) for model in MODELS
        } | {("where", model): self.child("bench.gpu_where", "float32", model) for model in MODELS}
        waiting = {
            key: self.pool.submit(child.ready, self.budget.left(UNTIL[key[0]])) for key, child in children.items()
        }
        for (kind, model), child in children.items():
            with self.report.part(f"{kind}, {model}"):
                waiting[kind, model].result()
                child.go()
                rows = self.report.found.setdefault(kind, {}).setdefault(model, [])
                for row in child.lines(self.budget.left(UNTIL[kind])):
                    rows.append(row)
                    self.report.write()

    def close(self) -> None:
        """End all processes that are left."""
        for speed in self.speeds.values():
            speed.close()
        for child in self.children:
            child.kill()
        self.pool.shutdown(cancel_futures=True)
        self.folders.close()


def about() -> dict:
    """The machine without its card: date, processor, and what `fastvae devices` finds."""
    done = subprocess.run([sys.executable, "-m", "fastvae", "devices"], cwd=ROOT, capture_output=True, text=True)
    found = (done.stdout or done.stderr).splitlines()
    return {"date": str(datetime.date.today()), "machine": machine(), "devices": found}


def the_card(report: Report) -> None:
    """What the driver says of the card, and its peak."""
    found = card.card()
    report.found["card"] = {
        **found._asdict(),
        "lanes": found.lanes,
        "peak_tflops": found.peak / 1e12,
        "formula": card.FORMULA,
    }
    report.say(f"{found.name}: float32 peak {found.peak / 1e12:.1f} TFLOP/s")


def parsed(argv: list[str] | None) -> argparse.Namespace:
    """The command line's options, and where PyTorch and CUDA's libraries are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of report.json and report.md")
    parser.add_argument(
        "--torch-python", metavar="PATH", help="an interpreter that has PyTorch; by default python3, if it has"
    )
    parser.add_argument(
        "--cuda-path",
        metavar="FOLDERS",
        help="where CUDA's libraries are, as for `fastvae devices`; by default also where PyTorch's are",
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="what the report may take")
    parser.add_argument("--steps", type=int, default=300, help="of the training")
    parser.add_argument("--rounds", type=int, default=6, help="blocks of each program, fewer if time is short")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a block")
    parser.add_argument("--quick", action="store_true", help="toy sizes, 10 steps, 2 rounds of half a second")
    args = parser.parse_args(argv)
    if args.quick:
        args.steps, args.rounds, args.seconds = 10, 2, 0.5
    args.torch_python, folders, args.without_torch = gpu_host.torch_python(args.torch_python)
    args.cuda_path = args.cuda_path or os.environ.get("FASTVAE_CUDA_PATH") or ":".join(folders)
    return args


def main(argv: list[str] | None = None) -> int:
    args = parsed(argv)
    budget = Budget(args.minutes)
    if args.cuda_path:
        os.environ["FASTVAE_CUDA_PATH"] = args.cuda_path
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Report(args.out, {**about(), "quick": args.quick}, budget)
        run = Run(report, args, pathlib.Path(folder))
        try:
            run.all()
        finally:
            run.close()
            report.write()
    print(gpu_markdown.markdown(report.found))
    return 1 if report.found["failures"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
