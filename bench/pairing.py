"""Programs timed in turn: live worker processes, A B B A, and the interval of a median ratio."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from bench import limits
from bench.networks import NETWORKS
from bench.worker import from_fastvae

Stopwatch = from_fastvae("timing").Stopwatch
ROOT = pathlib.Path(__file__).resolve().parent.parent
BUSY = 0.2  # cores that other processes may keep busy before a figure is called disturbed
AGREEMENT = 1e-4  # relative difference of losses, unless a network has another
BESIDE, INSTALLED = ("-m",), (str(ROOT / "bench" / "installed.py"),)


class WorkerFailed(Exception):
    """A program ended instead of answering."""


class Disagreement(Exception):
    """Programs that should compute the same loss do not."""


class Worker:
    """A live process that answers requests (see worker.py).

    `how` is what its interpreter runs the module with: `BESIDE` imports the fastvae of this working tree, `INSTALLED`
    the one that is installed.
    """

    def __init__(self, name, module, arguments, environ=None, python=sys.executable, how=BESIDE):
        self.name, self.blocks, self.settings = name, [], {}
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", *how, module, *map(str, arguments)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **(environ or {})},
        )

    def ask(self, request: str, **arguments: object) -> dict:
        """The answer to one request, as a dict."""
        try:
            print(json.dumps({"request": request, **arguments}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            self.log.seek(0)
            raise WorkerFailed(f"{self.name} ended with status {status}: {self.log.read().strip()[-2000:]}")
        return json.loads(line)

    def prepare(self) -> None:
        """Compile what `check` and `start` need, which else do so themselves."""
        self.ask("prepare")

    def check(self) -> list[float]:
        """Losses on the problem's own batches and noise."""
        return self.ask("check")["losses"]

    def start(self, **options: object) -> None:
        """Compile and warm up the step to be timed."""
        self.settings = self.ask("start", **options)

    def block(self, seconds: float) -> float:
        """Time one block, keep it, and return its milliseconds a step."""
        block = self.ask("block", seconds=seconds)
        block["milliseconds"] = 1000 * block["seconds"] / block["steps"]
        self.blocks.append(block)
        return block["milliseconds"]

    def kernels(self) -> str:
        """The kernels of the libraries that a step calls."""
        read = os.fstat(self.log.fileno()).st_size
        self.ask("kernels")
        new = os.pread(self.log.fileno(), 1 << 24, read)  # the process writes at the position of its own file
        return limits.kernels(new.decode(errors="replace").splitlines())

    @property
    def milliseconds(self) -> float:
        """Median milliseconds a step."""
        return statistics.median(block["milliseconds"] for block in self.blocks)

    @property
    def others(self) -> float:
        """Cores that other processes kept busy, in the worst block; NaN where the kernel does not say."""
        return max((block["others"] for block in self.blocks if block["others"] is not None), default=float("nan"))

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it ended before it had read all
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Local:
    """A step of this process, timed in turn with others as a Worker is."""

    def __init__(self, name, step):
        self.name, self.step, self.blocks, self.stopwatch = name, step, [], Stopwatch(step)

    def start(self):
        """Warm up."""
        self.stopwatch.warm_up()

    def block(self, seconds):
        """Time one block, keep it, and return its milliseconds a step."""
        block = self.stopwatch.block(seconds)
        self.blocks.append({**block._asdict(), "milliseconds": block.milliseconds})
        return block.milliseconds

    milliseconds, others = Worker.milliseconds, Worker.others


@contextlib.contextmanager
def closing(workers: list[Worker]) -> Iterator[list[Worker]]:
    """End the workers, a list that may still grow, on the way out."""
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close()


def in_turn(workers: list[Worker], rounds: int, seconds: float) -> None:
    """Time a block of every worker in each round, every other round in reverse order: A B B A."""
    for i in range(rounds):
        for worker in workers if i % 2 == 0 else workers[::-1]:
            worker.block(seconds)


def ratio(slow: Worker | Local, fast: Worker | Local) -> tuple[float, float, float]:
    """Median over the rounds of `slow`'s time by `fast`'s, and its 95 % bootstrap interval.

    Returns
    -------
    median, low, high : float
    """
    ratios = [a["milliseconds"] / b["milliseconds"] for a, b in zip(slow.blocks, fast.blocks, strict=True)]
    return median_interval(ratios)


def median_interval(
    values: Sequence[float], percentiles: tuple[float, float] = (2.5, 97.5), n_resamples: int = 10_000
) -> tuple[float, float, float]:
    """The median of some values, and its bootstrap interval.

    Returns
    -------
    median, low, high : float
    """
    resampled = np.random.default_rng(0).choice(values, (n_resamples, len(values)))
    low, high = np.percentile(np.median(resampled, axis=1), percentiles)
    return float(np.median(values)), float(low), float(high)


def fastest(workers: list[Worker]) -> Worker:
    """The worker with the smallest median time."""
    return min(workers, key=lambda worker: worker.milliseconds)


def difference(losses: list[float], reference: list[float]) -> float:
    """The larger of the relative differences of the first and the last loss; NaN if one of them is."""
    pairs = [(losses[0], reference[0]), (losses[-1], reference[-1])]
    return float(np.max([abs(a - b) / abs(b) for a, b in pairs]))


def program(model: str) -> str:
    """Whether a model is a "seed" model or a "user" network, as the workers of fastvae and stock are told."""
    return "user" if model in NETWORKS else "seed"


def agreement(model: str) -> float:
    """How far apart the losses of programs with the same model may be, relatively."""
    return NETWORKS[model].agreement if model in NETWORKS else AGREEMENT


def write_problem(
    path: pathlib.Path,
    model: str,
    quick: bool = False,
    steps: int | None = None,
    how: tuple[str, ...] = BESIDE,
    batch_size: int | None = None,
) -> dict[str, str]:
    """Write a problem in a process of its own and return the environment of stock's workers."""
    command = [sys.executable, "-W", "ignore", *how, "bench.problem", model, str(path)]
    command += ["--quick"] * quick + (["--steps", str(steps)] if steps else [])
    command += ["--batch-size", str(batch_size)] if batch_size else []
    limit = ":avx2" * os.environ.get("FASTVAE_PROFILE", "").endswith(":avx2")
    environ = {**os.environ, "FASTVAE_PROFILE": f"cpu-blas{limit}"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise WorkerFailed(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    flags = "".join(f",{name}={value}" for name, value in json.loads(done.stdout).items())
    return {"THEANO_FLAGS": "floatX=float32" + flags, "THEANORC": os.devnull}


def theano_workers(
    path: pathlib.Path,
    way: str,
    program: str,
    threads: int,
    environ: dict[str, str],
    profile: str | None = None,
    how: tuple[str, ...] = BESIDE,
    stock: bool = True,
) -> list[Worker]:
    """fastvae in one of its ways, then stock's program with 1 thread and with `threads`, the better of which counts."""
    ours = {"OMP_NUM_THREADS": str(threads), **({"FASTVAE_PROFILE": profile} if profile else {})}
    workers = [Worker(f"fastvae, {count(threads)}", "bench.fastvae_worker", (path, way), ours, how=how)]
    for n in sorted({1, threads}) if stock else ():
        name, theirs = f"stock PyMC3, {count(n)}", {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": str(n)}
        workers.append(Worker(name, "bench.stock", (path, program), {**environ, **theirs}))
    return workers


def count(threads: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{threads} thread" + "s" * (threads > 1)


def processor() -> str:
    """The processor's model; family and number tell those apart that a virtual machine gives one name."""
    about = {}
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            about.setdefault(name.strip(), value.strip())
    if "model name" not in about:
        return os.uname().machine
    return f"{about['model name']} (family {about.get('cpu family')}, model {about.get('model')})"


def machine() -> str:
    """The processor, its cores and the load, in one line."""
    return f"{processor()}, {len(os.sched_getaffinity(0))} cores, load before {os.getloadavg()[0]:.2f}"


def disturbance(workers: list[Worker]) -> str:
    """What other processes did meanwhile, in one line."""
    most = max(worker.others for worker in workers)
    verdict = "disturbed, measure again" if most > BUSY else "quiet"
    return f"other processes kept at most {most:.2f} cores busy during a block: {verdict}"
