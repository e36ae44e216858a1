"""Counts of a compiled step, what it calls and copies: unlike times, they are the same in every run.

    python bench/counts.py             compare the seed models' steps with bench/counts.json
    python bench/counts.py --accept    make their counts the new baseline

The baseline is that of the profile `cpu`; no processor, number of threads or load changes it. A rise ends with status
1, and fails `tests/bench/test_counts.py`.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import sys
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import fastvae  # noqa: E402  isort: skip  (before theano)
from theano.gof import CLinker, FunctionGraph, Op  # noqa: E402
from theano.gof.cmodule import get_module_hash  # noqa: E402
from theano.gof.utils import MethodNotDefined  # noqa: E402

from bench.steps import HEAVY, assert_engine, compiled_step  # noqa: E402
from fastvae.profiles import active  # noqa: E402

BASELINE = HERE / "counts.json"
ACCEPT = "FASTVAE_PROFILE=cpu python bench/counts.py --accept"
BATCH_SIZE = 64
DIRECTIONS = {  # of a convolution, by the name of its Op or of the abstract Op that it stands for
    "forward": ("Conv", "CorrMM", "GpuCorrMM", "GpuDnnConv"),
    "weights": ("ConvWeightsGradient", "CorrMM_gradWeights", "GpuCorrMM_gradWeights", "GpuDnnConvGradW"),
    "data": ("ConvTransposed", "CorrMM_gradInputs", "GpuCorrMM_gradInputs", "GpuDnnConvGradI"),
}
HOST_COPIES = ("HostFromGpu", "GpuFromHost", "DeepCopyOp")
LAYOUT_COPIES = ("Layout", "GpuContiguous")


def counts(step: Callable) -> dict[str, int]:
    """What a compiled step consists of.

    Parameters
    ----------
    step : theano function

    Returns
    -------
    dict of str to int
        `nodes`; `convolutions forward`, `... weights` and `... data` (a transposed convolution's forward pass is
        `data`); `matrix products`; `layout copies` and `host copies`; `float64 variables`; `C modules` that Theano
        compiles for it; and `Op NAME` for each class of Ops.
    """
    nodes = step.maker.fgraph.toposort()
    ops = collections.Counter(type(node.op).__name__ for node in nodes)
    convolutions = collections.Counter(filter(None, map(_direction, nodes)))
    products = sum(bool(HEAVY.search(type(node.op).__name__)) for node in nodes) - convolutions.total()
    variables = {variable for node in nodes for variable in (*node.inputs, *node.outputs)}
    return {
        "nodes": len(nodes),
        **{f"convolutions {direction}": convolutions[direction] for direction in DIRECTIONS},
        "matrix products": products,
        "layout copies": sum(ops[name] for name in LAYOUT_COPIES),
        "host copies": sum(ops[name] for name in HOST_COPIES),
        "float64 variables": sum(getattr(variable, "dtype", "") == "float64" for variable in variables),
        "C modules": len(set(filter(None, map(_module, nodes)))),
        **{f"Op {name}": ops[name] for name in sorted(ops)},
    }


def _direction(node):
    name = type(getattr(node.op, "abstract_op", node.op)).__name__
    return next((direction for direction, names in DIRECTIONS.items() if name in names), None)


def _module(node):
    """The hash of the C module of a node, None for one without."""
    if type(node.op).make_thunk is not Op.make_thunk:
        return None
    linker = CLinker().accept(FunctionGraph(node.inputs, node.outputs), no_recycling=[])
    try:
        return get_module_hash(linker.get_src_code(), linker.cmodule_key())
    except (NotImplementedError, MethodNotDefined):
        return None


def seed_counts() -> dict[str, dict[str, int]]:
    """The counts of both seed models' steps, by model."""
    images = fastvae.datasets.load("fashion-mnist-sample")
    minibatch = fastvae.Minibatch(images, BATCH_SIZE)
    steps = {kind: compiled_step(kind, minibatch, BATCH_SIZE, len(images)) for kind in ("conv", "mlp")}
    for step in steps.values():
        assert_engine(step, active())
    return {kind: counts(step) for kind, step in steps.items()}


def compare(baseline: dict[str, int], found: dict[str, int]) -> tuple[list[str], list[str]]:
    """How counts differ from a baseline.

    Returns
    -------
    rises, falls : list of str
        One line for each count that differs: its name, the baseline and what was found.
    """
    names = [*baseline, *(name for name in found if name not in baseline)]
    before, now = (collections.Counter(each) for each in (baseline, found))
    lines = {name: f"{name}: {before[name]} -> {now[name]}" for name in names}
    rises = [lines[name] for name in names if now[name] > before[name]]
    return rises, [lines[name] for name in names if now[name] < before[name]]


def report(baseline: dict[str, dict], found: dict[str, dict]) -> tuple[str, bool]:
    """Rises and falls of all models as text, and whether there is a rise."""
    lines, risen = [], False
    for kind in found:
        rises, falls = compare(baseline.get(kind, {}), found[kind])
        risen = risen or bool(rises)
        lines += [f"{kind}: {what} in {line}" for what, each in (("rise", rises), ("fall", falls)) for line in each]
    if lines:
        lines.append(f"accept the new counts as the baseline by: {ACCEPT}")
    return "\n".join(lines or ["all counts are those of the baseline"]), risen


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="make the counts found the new baseline")
    args = parser.parse_args(argv)
    if active().name != "cpu":
        raise SystemExit(f"the baseline is the profile cpu's, not {active().name}'s: {ACCEPT}")
    found = seed_counts()
    text, risen = report(json.loads(BASELINE.read_text()) if BASELINE.exists() else {}, found)
    print(text)
    if args.accept:
        BASELINE.write_text(json.dumps(found, indent=1) + "\n")
    elif risen:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
