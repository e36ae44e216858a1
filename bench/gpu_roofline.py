"""What a training step asks of an NVIDIA GPU, and how long that takes at the least: predicted, no GPU is needed.

    python -m bench.gpu_roofline conv|mlp [--toy] [--batch 64] [--json FILE]

The step runs on the tests' computing device (`tests/cuda_device`), which counts the bytes that each operation reads and
writes, each once, and the floating-point operations of library calls. An operation takes as long as the slower of its
bytes at the card's memory bandwidth and its arithmetic at the card's strict float32 peak. To that each adds
`IN_A_GRAPH`; without a CUDA graph it takes at least what the host needs to launch it, `BY_THE_HOST`. What the model
leaves out: caches between operations, which make it pessimistic, and kernels that miss both peaks, which make it
optimistic. PyTorch's step beside it is on paper: see `bench/pytorch_on_paper.py`.

Needs gcc, pygpu with libgpuarray's headers, and the wheels of `.[test]`. At full size the conv step takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

from bench import pytorch_on_paper

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOY = {"conv": dict(filters=8, hidden=16), "mlp": dict(hidden=16)}
BATCH = 64
# Assumed, for want of a card: seconds from one node's end to the next one's start, of which NVIDIA's "Getting Started
# with CUDA Graphs" (2019) tells 0.5e-6 on a V100; and seconds of the host for a launch in a stream.
IN_A_GRAPH, BY_THE_HOST = 1.0e-6, 2.5e-6


class Card(NamedTuple):
    """A card's strict float32 peak, without tensor cores, in FLOP/s, and its memory bandwidth in bytes/s."""

    name: str
    peak: float
    bandwidth: float


# From NVIDIA's data sheets, of the SXM boards with 80 (A100, H100) and 141 GB (H200); RTX 4090: Ada's white paper.
CARDS = (
    Card("RTX 4090", 82.6e12, 1.008e12),
    Card("A100", 19.5e12, 2.039e12),
    Card("H100", 67e12, 3.35e12),
    Card("H200", 67e12, 4.8e12),
)


class Operation(NamedTuple):
    """One operation of a device: a launch of a kernel, or a library's call, a copy or a fill, which have no grid.

    `read` and `written` are bytes, each counted once; `flop` those of a library's call.
    """

    name: str
    read: float
    written: float
    flop: float = 0
    is_kernel: bool = False

    def seconds(self, card: Card) -> float:
        """The least time that the operation itself takes."""
        return max((self.read + self.written) / card.bandwidth, self.flop / card.peak)


def operations(log: Iterable[dict]) -> list[Operation]:
    """The operations of a log of `tests.cuda_device.launches`.

    Examples
    --------
    >>> row = dict(name="adam", grid=[8, 1, 1], block=[256, 1, 1], read=10, written=20, flop=0)
    >>> operations([row])
    [Operation(name='adam', read=10, written=20, flop=0, is_kernel=True)]
    """
    return [Operation(o["name"], o["read"], o["written"], o["flop"], o["grid"][0] > 0) for o in log]


def totals(step: list[Operation]) -> dict[str, float]:
    """Launches of kernels, library calls and the like, bytes read and written, and FLOP of a step."""
    kernels = sum(o.is_kernel for o in step)
    sums = {name: sum(getattr(o, name) for o in step) for name in ("read", "written", "flop")}
    return dict(launches=kernels, calls=len(step) - kernels, **sums)


def predicted(step: list[Operation], card: Card) -> dict[str, float]:
    """Milliseconds of a step: its arithmetic alone, its operations, in a CUDA graph, and launched by the host.

    Examples
    --------
    >>> step = [Operation("gemm", 3e6, 1e6, 1e9), Operation("adam", 2e6, 1e6, is_kernel=True)]
    >>> {name: round(ms, 5) for name, ms in predicted(step, Card("a card", 1e13, 1e12)).items()}
    {'arithmetic': 0.1, 'operations': 0.103, 'graph': 0.105, 'stream': 0.105}
    """
    times = [o.seconds(card) for o in step]
    return {
        "arithmetic": 1e3 * sum(o.flop for o in step) / card.peak,
        "operations": 1e3 * sum(times),
        "graph": 1e3 * (sum(times) + IN_A_GRAPH * len(step)),
        "stream": 1e3 * sum(max(t + IN_A_GRAPH, BY_THE_HOST) for t in times),
    }


def costliest(step: list[Operation], card: Card, n: int = 12) -> list[dict[str, float | str]]:
    """The operations of one name together, those that take longest first: number, bytes, FLOP and microseconds."""
    groups: dict[str, list[Operation]] = {}
    for o in step:
        groups.setdefault(o.name, []).append(o)
    rows = [
        dict(name=name, number=len(group), **{k: totals(group)[k] for k in ("read", "written", "flop")})
        | dict(microseconds=1e6 * sum(o.seconds(card) for o in group))
        for name, group in groups.items()
    ]
    return sorted(rows, key=lambda row: -row["microseconds"])[:n]


def report(step: list[Operation], paper: list[Operation]) -> dict:
    """Everything that is printed of a step and of PyTorch's on paper, for `json`."""
    return {
        "predicted": True,
        "assumed seconds": {"in a graph": IN_A_GRAPH, "by the host": BY_THE_HOST},
        "totals": totals(step),
        "cards": {card.name: predicted(step, card) for card in CARDS},
        "costliest on an H100": costliest(step, CARDS[2]),
        "PyTorch on paper": {
            "totals": totals(paper),
            "cards": {card.name: predicted(paper, card) for card in CARDS},
            "assumed": pytorch_on_paper.ASSUMED,
        },
    }


def measured(kind: str, toy: bool = False, batch: int = BATCH, check: bool = False) -> list[Operation]:
    """The operations of one step, the third, on the tests' device, in a process of its own.

    Parameters
    ----------
    kind : "conv" or "mlp"
        The seed model.
    toy : bool
        A narrow one, which takes seconds; it has the same launches.
    batch : int
    check : bool
        Whether the device looks for faults in every access; it takes longer.

    Raises
    ------
    RuntimeError
        If the step does not run or a fault was found, with the reason.
    """
    from tests import cuda_device

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        environ = {
            **os.environ,
            **cuda_device.environ(cuda_device.build(folder)),
            "TEST_DEVICE_LOG": str(folder / "log"),
        }
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        flags = [os.environ.get("THEANO_FLAGS"), check and cuda_device.CHECKING_FLAGS]
        environ["THEANO_FLAGS"] = ",".join(filter(None, flags))
        environ["TEST_DEVICE_CHECK"] = str(int(check))
        return logged(kind, toy, batch, environ)


def logged(kind: str, toy: bool, batch: int, environ: dict[str, str]) -> list[Operation]:
    """The operations of one step in a process with these variables, among them TEST_DEVICE_LOG.

    Raises
    ------
    RuntimeError
        As `measured`.
    """
    from tests import cuda_device

    command = [sys.executable, "-W", "ignore", "-m", "bench.gpu_roofline", kind, "--batch", str(batch), "--run"]
    done = subprocess.run(command + ["--toy"] * toy, env=environ, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"the step of {kind} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    start, end, findings = json.loads(done.stdout.splitlines()[-1])
    if findings:
        raise RuntimeError(f"the step of {kind} has faults on the checking device: {findings}")
    return operations(cuda_device.launches(environ["TEST_DEVICE_LOG"])[start:end])


def run(kind: str, toy: bool, batch: int) -> tuple[int, int, list[str]]:
    """Run three steps in this process, and return between which lines of its log the third one is, and findings."""
    import fastvae  # isort: skip  (before theano)
    import numpy as np
    import pymc3 as pm
    import theano

    from fastvae.elbo import step_updates, vae_model
    from fastvae.training.losses import LossBuffer
    from tests import cuda_device

    images = np.random.default_rng(0).integers(0, 256, (4 * batch, 1, 28, 28), dtype="uint8")
    vae = {"conv": fastvae.ConvVAE, "mlp": fastvae.MLPVAE}[kind](seed=1, **(TOY[kind] if toy else {}))
    model, local_rv, xs = vae_model(vae, batch, len(images))
    loss, updates = step_updates(
        pm.ADVI(local_rv=local_rv, model=model).objective,
        obj_optimizer=fastvae.adam(learning_rate=1e-4),
        more_obj_params=vae.get_params(),
        more_replacements={xs: fastvae.Minibatch(images, batch, seed=1, scale=1 / 255)},
    )
    step = theano.function([], updates=[*updates.items(), *LossBuffer(loss, 100).updates])
    places = []
    for _ in range(3):
        places.append(len(cuda_device.launches(os.environ["TEST_DEVICE_LOG"])))
        step()
        findings = cuda_device.findings()  # once all of it has run
    return places[-1], len(cuda_device.launches(os.environ["TEST_DEVICE_LOG"])), findings


def table(result: dict) -> str:
    """A report as text."""
    lines = ["PREDICTED, not measured: no GPU was at hand.", ""]
    for who, part in (("fastvae", result), ("PyTorch, eager, on paper", result["PyTorch on paper"])):
        t = part["totals"]
        lines.append(
            f"{who}: {t['launches']} launches, {t['calls']} library calls, {t['read'] / 1e6:.1f} MB read, "
            f"{t['written'] / 1e6:.1f} MB written, {t['flop'] / 1e9:.2f} GFLOP"
        )
        lines.append("| card | arithmetic, ms | operations, ms | in a CUDA graph, ms | without, ms |")
        lines.append("|---|---|---|---|---|")
        for card, ms in part["cards"].items():
            lines.append(f"| {card} | " + " | ".join(f"{ms[k]:.3f}" for k in ms) + " |")
        lines.append("")
    lines.append("| costliest on an H100 | number | MB read | MB written | GFLOP | us |")
    lines.append("|---|---|---|---|---|---|")
    for row in result["costliest on an H100"]:
        lines.append(
            f"| {row['name']} | {row['number']} | {row['read'] / 1e6:.2f} | {row['written'] / 1e6:.2f} | "
            f"{row['flop'] / 1e9:.3f} | {row['microseconds']:.1f} |"
        )
    return "\n".join([*lines, "", *(f"PyTorch on paper: {line}" for line in pytorch_on_paper.ASSUMED)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["conv", "mlp"])
    parser.add_argument("--toy", action="store_true", help="a narrow model, which takes seconds")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--json", help="write the report to this file too")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)  # what `logged` starts
    args = parser.parse_args(argv)
    if args.run:
        print(json.dumps(run(args.kind, args.toy, args.batch)))
        return
    sizes = TOY[args.kind] if args.toy else {}
    paper = [Operation(*row) for row in pytorch_on_paper.step(args.kind, args.batch, **sizes)]
    result = report(measured(args.kind, args.toy, args.batch), paper)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


if __name__ == "__main__":
    main()
