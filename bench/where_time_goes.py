"""Where the time of fastvae's step goes: milliseconds of each group of Ops against what this machine could do.

    python bench/where_time_goes.py conv --steps 30

Prints the share of the step that fastvae's own Ops take, and a Markdown table. A group's bound is its arithmetic at the
speed of a large matrix product, or its memory traffic at the speed of a threaded copy, whichever is longer; both speeds
are measured first, with the same threads. Arithmetic is that of the direct algorithm, so Winograd's convolutions can
beat their bound.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import math
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import fastvae  # noqa: E402  isort: skip  (before theano)
import numpy as np  # noqa: E402
import theano  # noqa: E402
from theano.gof import Apply, Op  # noqa: E402

from bench import problem, tables  # noqa: E402
from bench.networks import NETWORKS  # noqa: E402
from bench.steps import compiled_step, users_step  # noqa: E402
from fastvae import elbo  # noqa: E402
from fastvae.backends.cpu.ops.adam import Adam  # noqa: E402
from fastvae.backends.cpu.ops.adam_of_product import AdamOfProduct  # noqa: E402
from fastvae.backends.cpu.ops.convolution import Convolution  # noqa: E402
from fastvae.backends.cpu.ops.layout import Layout  # noqa: E402
from fastvae.backends.cpu.ops.matmul import Gemm, MatMul  # noqa: E402
from fastvae.backends.cpu.ops.relu_gradient import ReluGradient  # noqa: E402
from fastvae.devices import threads  # noqa: E402


def product_speed(n: int = 2048) -> float:
    """GFLOP/s of an n x n matrix product through the backend."""
    a, b = (theano.shared(np.random.rand(n, n).astype("float32")) for _ in range(2))
    return 2 * n**3 / _shortest(theano.function([], MatMul()(a, b))) / 1e9


def copy_speed(megabytes: int = 256) -> float:
    """GB/s, read and written, of a copy by all threads."""
    source = np.ones((len(os.sched_getaffinity(0)), megabytes << 18), "float32")
    target = np.empty_like(source)
    with concurrent.futures.ThreadPoolExecutor(len(source)) as pool:
        return 2 * source.nbytes / _shortest(lambda: list(pool.map(np.copyto, target, source))) / 1e9


def _shortest(call, repeats=5):
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def group_and_work(node: Apply, shape: Callable) -> tuple[str, int]:
    """The group that a node belongs to, and its floating point operations; `shape(variable)` is what it had."""
    op = node.op
    if isinstance(op, Convolution):
        images = node.inputs[:2] if op.direction == 2 else [node.inputs[0], node.outputs[0]]
        weights = shape(node.outputs[0] if op.direction == 2 else node.inputs[1])
        pixels = min(math.prod(shape(v)[:3]) for v in images) if op.direction != 1 else math.prod(shape(images[0])[:3])
        rows, columns = weights[2:]
        if min(weights[:2]) < 4:
            name = "convolutions from or to the image's channels"
        else:
            name = f"{rows}x{columns} convolutions"
        return name, 2 * pixels * math.prod(weights)
    if isinstance(op, (MatMul, Gemm)):
        x, w = node.inputs[:2] if isinstance(op, MatMul) else node.inputs[2:4]
        inner = shape(x)[0 if getattr(op, "transposed", (False,))[0] else 1]
        return "matrix products of the dense layers", 2 * inner * math.prod(shape(node.outputs[0]))
    if isinstance(op, AdamOfProduct):
        x = shape(node.inputs[2])
        return "Adam with its gradient's product", 2 * x[not op.transposed[0]] * math.prod(shape(node.outputs[0]))
    names = {Adam: "Adam", Layout: "changes of layout", ReluGradient: "ReLU gradients"}
    if is_own(op):
        return names.get(type(op), type(op).__module__.rpartition(".")[2].replace("_", " ")), 0
    return "Theano's own Ops", 0


def is_own(op: Op) -> bool:
    """Whether an Op is one of fastvae's."""
    return type(op).__module__.startswith("fastvae.")


def traffic(node: Apply, shape: Callable) -> int:
    """Bytes that a node reads and writes at least once; what it overwrites counts twice."""
    return sum(4 * math.prod(shape(v)) for v in [*node.inputs, *node.outputs] if getattr(v, "dtype", "") == "float32")


def profiled(model: str, batch_size: int | None = None) -> Callable:
    """fastvae's step of a model of `bench/problem.py` on real images, with Theano's profile of it in `step.profile`."""
    if model not in NETWORKS:
        images, batch_size = fastvae.datasets.load("fashion-mnist-sample"), batch_size or 64
        return compiled_step(model, fastvae.Minibatch(images, batch_size), batch_size, len(images), profile=True)

    def take(inference, **options):
        loss, updates = elbo.step_updates(inference.objective, **options)
        return theano.function([], loss, updates=updates, profile=True)

    with tempfile.TemporaryDirectory() as folder:
        problem.write(path := pathlib.Path(folder, "problem.npz"), model, batch_size=batch_size)
        return users_step(problem.load(path), False, take)


def groups(step: Callable, spent: dict, gflops: float, bandwidth: float) -> dict[str, list]:
    """The nodes of a step that has been called, by group.

    Parameters
    ----------
    step : theano function
    spent : dict
        Milliseconds of each node in a step.
    gflops, bandwidth : float
        What this machine could do: GFLOP/s of a matrix product, GB/s of a copy.

    Returns
    -------
    dict
        Number of nodes, milliseconds, GFLOP, and the bound in milliseconds.
    """

    def shape(variable):
        return np.shape(step.fn.storage_map[variable][0])

    found = {}
    for node, milliseconds in spent.items():
        name, work = group_and_work(node, shape)
        bound = max(work / gflops / 1e9, traffic(node, shape) / bandwidth / 1e9)
        total = found.setdefault(name, [0, 0.0, 0.0, 0.0])
        found[name] = [a + b for a, b in zip(total, (1, milliseconds, work / 1e9, 1e3 * bound))]
    return found


def table(found: dict[str, list], elapsed: float) -> str:
    """Markdown: a row for each group, the longest first, and what of the step's milliseconds is between the Ops."""
    rows = [
        [name, nodes, f"{ms:.2f}", f"{work:.2f}", f"{bound:.2f}", f"{ms / bound:.1f}"]
        for name, (nodes, ms, work, bound) in sorted(found.items(), key=lambda item: -item[1][1])
    ]
    between = elapsed - sum(ms for _, ms, _, _ in found.values())
    rows.append(["between the Ops", "", f"{between:.2f}", "", "", ""])
    return tables.table(["Ops", "nodes", "ms", "GFLOP", "bound, ms", "ms / bound"], rows)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("conv", "mlp", *NETWORKS))
    parser.add_argument("--batch-size", type=int, help="by default the model's own")
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args(argv)
    gflops, bandwidth = product_speed(), copy_speed()
    step = profiled(args.model, args.batch_size)
    for _ in range(3):
        step()
    before = dict(step.profile.apply_time)
    started = time.perf_counter()
    for _ in range(args.steps):
        step()
    elapsed = 1e3 * (time.perf_counter() - started) / args.steps
    spent = {node: 1e3 * (t - before.get(node, 0)) / args.steps for node, t in step.profile.apply_time.items()}
    found = groups(step, spent, gflops, bandwidth)
    own = sum(ms for node, ms in spent.items() if is_own(node.op)) / elapsed
    setting = f"{args.model}, {f'batch {args.batch_size}, ' if args.batch_size else ''}{threads.describe()}"
    print(
        f"{setting}, {datetime.date.today()}: {gflops:.0f} GFLOP/s, {bandwidth:.0f} GB/s, {elapsed:.2f} ms a step, "
        f"{own:.0%} of it in fastvae's own Ops\n\n{table(found, elapsed)}"
    )


if __name__ == "__main__":
    main()
