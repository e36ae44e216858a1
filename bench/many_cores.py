"""What each Op of the seed steps would do with more threads than this machine has cores.

    python bench/many_cores.py [--models conv mlp] [--threads 4 8 16 64] [--out bench/results]

The threads take turns on the cores that there are, and `bench/regions.c` adds up each one's processor time in every
parallel region. A step with a core for each thread takes the time that its Ops spend outside of regions, and of each
region that of its slowest thread. That leaves out memory, which many cores share, and the time that waking them takes.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import fastvae  # noqa: E402  isort: skip  (before theano)
import numpy as np  # noqa: E402
import theano  # noqa: E402
from theano.gof import Apply  # noqa: E402
from theano.gof.vm import VM_Linker  # noqa: E402

from bench import pairing, tables, where_time_goes  # noqa: E402
from bench.problem import BATCH_SIZES  # noqa: E402
from bench.steps import compiled_step  # noqa: E402
from fastvae.backends.cpu.ops.convolution import Convolution  # noqa: E402
from fastvae.backends.cpu.ops.layout import Layout  # noqa: E402
from fastvae.backends.cpu.ops.rows import TakeRows  # noqa: E402
from fastvae.devices import threads  # noqa: E402

REPEATS = 5  # steps, of which each thread's least time counts
LIBRARY = "FASTVAE_BENCH_REGIONS"
MOST_THREADS = 128


class _Region(ctypes.Structure):
    _fields_ = [
        ("threads", ctypes.c_int),
        ("pieces", ctypes.c_long),
        ("caller", ctypes.c_double),
        ("seconds", ctypes.c_double * MOST_THREADS),
    ]


class Region(NamedTuple):
    """A parallel region: each thread's seconds; and the pieces that were handed out while it ran, 0 if none were."""

    pieces: int
    seconds: tuple[float, ...]

    @property
    def busy(self) -> int:
        """How many threads have something to do."""
        if self.pieces:
            return min(self.pieces, len(self.seconds))
        return sum(spent > max(self.seconds) / 20 for spent in self.seconds)

    @property
    def slowest(self) -> float:
        """Seconds of the slowest thread."""
        if not self.pieces:
            return max(self.seconds)
        turns = -(-self.pieces // len(self.seconds))
        return sum(self.seconds) * turns / self.pieces


class Node(NamedTuple):
    """A node of a step: its name, the bytes that it reads and writes, seconds outside of regions, and the regions."""

    name: str
    bytes: int
    serial: float
    regions: tuple[Region, ...]

    @property
    def work(self) -> float:
        """Seconds of all threads together."""
        return self.serial + sum(sum(region.seconds) for region in self.regions)

    @property
    def span(self) -> float:
        """Seconds that it takes with a core for each thread."""
        return self.serial + sum(region.slowest for region in self.regions)

    @property
    def busy(self) -> int:
        """Threads that work in its longest region; 1 where there is none."""
        return max(self.regions, key=lambda region: sum(region.seconds)).busy if self.regions else 1

    def imbalance(self, count: int) -> float:
        """Its span by the share of the work that each of so many threads would have at best."""
        return self.span * count / self.work


def library(folder: str) -> pathlib.Path:
    """Compile `regions.c`."""
    path = pathlib.Path(folder, "regions.so")
    cxx = theano.config.cxx
    source = ["-x", "c", str(HERE / "regions.c")]
    subprocess.run([cxx, "-O2", "-shared", "-fPIC", "-fopenmp", *source, "-o", str(path), "-ldl"], check=True)
    return path


def step_of(model: str) -> Callable:
    """fastvae's step of a seed model, whose Ops can be called one by one."""
    images, batch_size = fastvae.datasets.load("fashion-mnist-sample"), BATCH_SIZES[model]
    mode = theano.Mode(VM_Linker(use_cloop=False, lazy=False, allow_gc=False), theano.config.optimizer)
    return compiled_step(model, fastvae.Minibatch(images, batch_size), batch_size, len(images), mode=mode)


def counted(step: Callable, take: Callable[[Any], int]) -> list[Node]:
    """Every node of a step with the threads that are set, after so many calls that nothing is prepared any more."""
    step(), step()
    order = list(zip(step.fn.nodes, step.fn.thunks, strict=True))
    rounds = [[_called(thunk, take) for _, thunk in order] for _ in range(REPEATS)]

    def shape(variable):
        return np.shape(step.fn.storage_map[variable][0])

    nodes = []
    for i, (node, _) in enumerate(order):
        serial = min(round[i][0] for round in rounds)
        regions = [round[i][1] for round in rounds]
        least = [
            Region(same[0].pieces, tuple(map(min, zip(*(region.seconds for region in same))))) for same in zip(*regions)
        ]
        nodes.append(Node(name_of(node, shape), bytes_of(node, shape), serial, tuple(least)))
    return nodes


def name_of(node: Apply, shape: Callable) -> str:
    """The Op, the abstract one that a convolution stands for, and the shape of the result."""
    ops = [node.op, node.op.abstract_op] if isinstance(node.op, Convolution) else [node.op]
    size = "x".join(map(str, shape(node.outputs[0])))
    return " ".join([*(type(op).__name__ for op in ops), size]).strip()


def bytes_of(node: Apply, shape: Callable) -> int:
    """What a node reads and writes: nothing where it is no more than a view, of a gathered array only the rows."""
    if getattr(node.op, "view_map", None) and not isinstance(node.op, Layout):
        return 0
    if isinstance(node.op, TakeRows):
        return 8 * math.prod(shape(node.outputs[0]))
    return where_time_goes.traffic(node, shape)


def _called(thunk, take):
    """Seconds that a call takes outside of parallel regions, and the regions."""
    first = ctypes.POINTER(_Region)()
    take(ctypes.byref(first))
    started = time.thread_time()
    thunk()
    spent = time.thread_time() - started
    found = [first[i] for i in range(take(ctypes.byref(first)))]
    regions = [Region(one.pieces, tuple(one.seconds[: one.threads])) for one in found]
    return max(spent - sum(one.caller for one in found), 0.0), regions


def all_counts(models: Iterable[str], counts: Iterable[int]) -> dict[str, dict[int, list[Node]]]:
    """The nodes of each model's step by number of threads, one thread first. `regions.c` must be preloaded."""
    take, profile = ctypes.CDLL(os.environ[LIBRARY]).regions_take, fastvae.profiles.active()
    found = {}
    for model in models:
        step, found[model] = step_of(model), {}
        for count in (1, *counts):
            threads.limit(count, profile.blas_path, profile.backend)
            found[model][count] = counted(step, take)
    return found


def table(by_count: dict[int, list[Node]]) -> str:
    """Markdown: a row for each node, the longest first, and the whole step."""
    alone, *counts = by_count
    rows = []
    for i in sorted(range(len(by_count[alone])), key=lambda i: -by_count[alone][i].work):
        node = by_count[alone][i]
        cells = []
        for count in counts:
            many = by_count[count][i]
            cells += [many.busy, f"{many.imbalance(count):.2f}", f"{1e6 * many.serial:.0f}"]
        rows.append([node.name, f"{node.bytes / 1e6:.2f}", f"{1e3 * node.work:.3f}", *cells])
    names = [f"{word}, {count}" for count in counts for word in ("threads busy", "imbalance", "serial us")]
    return tables.table(["node", "MB", "ms, 1 thread", *names], rows)


def scaling(by_count: dict[int, list[Node]]) -> str:
    """Markdown: a step with a core for each thread, and what keeps it from being so many times as fast."""
    alone, rows = sum(node.work for node in by_count[1]), []
    for count, nodes in by_count.items():
        work, span = (sum(getattr(node, name) for node in nodes) for name in ("work", "span"))
        serial = sum(node.serial for node in nodes) if count > 1 else 0
        cells = [1e3 * span, alone / span, work / alone, work / span, 1e3 * serial]
        rows.append([count, *(f"{cell:.2f}" for cell in cells)])
    names = ["threads", "ms a step", "times as fast", "work, of one thread's", "threads busy", "ms outside of regions"]
    return tables.table(names, rows)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=("conv", "mlp"), default=["conv", "mlp"])
    parser.add_argument("--threads", nargs="+", type=int, default=[4, 8, 16, 64])
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder of the tables")
    args = parser.parse_args(argv)
    if LIBRARY not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            path = str(library(folder))
            environ = {**os.environ, LIBRARY: path, "LD_PRELOAD": path, "OMP_WAIT_POLICY": "PASSIVE"}
            raise SystemExit(subprocess.run([sys.executable, *sys.argv], env=environ).returncode)
    text = f"{datetime.date.today()}, {pairing.machine()}.\n"
    for model, by_count in all_counts(args.models, args.threads).items():
        text += f"\n{model}, batch {BATCH_SIZES[model]}\n\n{scaling(by_count)}\n\n{table(by_count)}\n"
    tables.write(args.out / "many_cores.md", text)
    print(text)


if __name__ == "__main__":
    main()
