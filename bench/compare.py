"""Time the seed models and users' networks in fastvae, stock PyMC3 and their peers, in turn: a table and a chart.

    python bench/compare.py [--quick] [--works conv mlp pooled-bn ...] [--python torch=/path/to/python]
    python bench/compare.py --isa avx2 --works conv mlp --peers torch

Environments of peers that are missing are built first, as `bench/.venv-NAME`; a peer that is not available is reported
in the table. All programs start from one file of weights, batches and noise, and nothing is timed before all agree on
the loss at step 0 and after 20 steps. With `--isa avx2` every program is limited to AVX2 (`bench/limits.py`), and the
kernels that each calls are told. The table and the chart go to `bench/results/peers.md` and `peers.png`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bench import limits, tables  # noqa: E402
from bench.networks import NETWORKS  # noqa: E402
from bench.pairing import (  # noqa: E402
    Worker,
    WorkerFailed,
    agreement,
    closing,
    difference,
    disturbance,
    in_turn,
    machine,
    program,
    ratio,
    theano_workers,
    write_problem,
)
from bench.problem import SEED  # noqa: E402

WORKS = {
    "conv": "ConvVAE 28x28x1, batch 64",
    "mlp": "MLP VAE 784-128-2, batch 64",
    "conv64": "ConvVAE 64x64x3, stride 2, batch 32",
    "pooled": "pooling, upsampling, 28x28x1, batch 64",
    "pooled-bn": "the same with batch norm",
    "residual": "residual, batch norm, 64x64x3, batch 32",
    "notebook": "PyMC3's notebook, 28x28x1, batch 100",
}
REQUIREMENTS = {
    "torch": ["torch==2.13.0", "numpy"],
    "jax": ["jax==0.10.2"],
    "numpyro": ["numpyro==0.22.0", "jax==0.10.2"],
}


STOCK = "stock"  # PyMC3, of this environment


class Peer(NamedTuple):
    """A program of `bench/peers/`: its row's name, its environment, its variant and the models that it has."""

    name: str
    environment: str
    variant: tuple
    works: tuple


PEERS = [
    Peer("PyTorch eager", "torch", ("eager",), (*SEED, *NETWORKS)),
    Peer("PyTorch channels_last", "torch", ("channels_last",), ("conv", "conv64", *NETWORKS)),
    Peer("PyTorch torch.compile", "torch", ("compile",), (*SEED, *NETWORKS)),
    Peer("JAX jit", "jax", (), (*SEED,)),
    Peer("NumPyro SVI", "numpyro", (), (*SEED,)),
    Peer("NumPyro SVI, loop inside jit", "numpyro", ("loop",), (*SEED,)),
]


def title(work: str, batch_size: int | None) -> str:
    """What a work is called, with the batch size if it is another than its own.

    Examples
    --------
    >>> title("mlp", 16), title("conv", None)
    ('MLP VAE 784-128-2, batch 16', 'ConvVAE 28x28x1, batch 64')
    """
    return re.sub(r"batch \d+", f"batch {batch_size}", WORKS[work]) if batch_size else WORKS[work]


class Missing(Exception):
    """A peer is not available, and why."""


def environment(name: str, given: dict[str, str]) -> str | pathlib.Path:
    """The interpreter of a peer: the one given for it, or that of its own environment, built if it is missing."""
    if name in given:
        if not pathlib.Path(given[name]).is_file():
            raise Missing(f"no interpreter {given[name]}")
        return given[name]
    folder = HERE / f".venv-{name}"
    if not folder.exists():
        print(f"building {folder}: {', '.join(REQUIREMENTS[name])}", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", folder],
            [folder / "bin" / "python", "-m", "pip", "install", "-q", *REQUIREMENTS[name]],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                shutil.rmtree(folder, ignore_errors=True)  # so that the next run tries again
                lines = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
                raise Missing(next((line for line in lines if line.startswith("ERROR")), lines[-1]))
    return folder / "bin" / "python"


def agreeing(workers: list[Worker], bound: float, faults: dict[str, str]) -> list[Worker]:
    """Those workers that answer, once their losses are at most `bound` from the first's, relatively.

    `faults` takes the reason for each other one.
    """
    reference, running = None, []
    for worker in workers:
        try:
            losses = worker.check()
            reference = reference or losses
            apart = difference(losses, reference)
            print(f"{worker.name}: losses {losses[0]:.2f} and {losses[-1]:.2f}, {apart:.1e} from fastvae's", flush=True)
            if not apart <= bound:
                raise SystemExit(f"{worker.name} does not agree on the loss: nothing is timed")
            worker.start()
            running.append(worker)
        except WorkerFailed as failure:
            faults[worker.name] = f"failed: {failure}".splitlines()[-1]
    return running


def measure(work: str, pythons: dict, args: argparse.Namespace) -> tuple[dict, str]:
    """Check and time one model in every program.

    Returns
    -------
    results : dict
        By program: (milliseconds a step, (median, low, high) of its time by fastvae's), or why there are none.
    load : str
    """
    results = {}
    with tempfile.TemporaryDirectory() as folder, closing([]) as workers:
        path = pathlib.Path(folder, "problem.npz")
        environ = write_problem(path, work, args.quick, batch_size=args.batch_size)
        stock = STOCK in args.peers
        workers += theano_workers(path, program(work), program(work), args.threads, environ, stock=stock)
        for peer in PEERS:
            if work not in peer.works or peer.environment not in args.peers:
                continue
            python = pythons[peer.environment]
            if isinstance(python, Missing):
                results[peer.name] = f"not installed: {python}"
            else:
                module, threads = f"bench.peers.{peer.environment}_worker", {"OMP_NUM_THREADS": str(args.threads)}
                workers.append(Worker(peer.name, module, (path, *peer.variant), threads, python))
        running = agreeing(workers, agreement(work), results)
        if running[:1] != workers[:1]:
            raise SystemExit(results[workers[0].name])
        in_turn(running, args.rounds, args.seconds)
        results.update((worker.name, (worker.milliseconds, ratio(worker, running[0]))) for worker in running)
        if args.isa != "native":
            for worker in running:
                instructions = worker.settings.get("instructions", "not told")
                print(f"{worker.name}: instructions {instructions}; {worker.kernels() or 'no library told a kernel'}")
        peers = [peer.name for peer in PEERS]
        order = [worker.name for worker in workers if worker.name not in peers] + peers
        return {name: results[name] for name in order if name in results}, disturbance(running)


def table(results: dict[str, dict], batch_size: int | None = None) -> str:
    """Markdown: a row for each program, a column for each model."""
    names = dict.fromkeys(name for columns in results.values() for name in columns)
    rows = ([name, *(cell(columns.get(name)) for columns in results.values())] for name in names)
    return tables.table(["program", *(title(work, batch_size) for work in results)], rows) + "\n"


def cell(result: tuple | str | None) -> str:
    """One figure: time, speed, and how many times fastvae's time that is."""
    if result is None:
        return "-"
    if isinstance(result, str):
        return result
    ms, (median, low, high) = result
    return f"{ms:.3g} ms, {1000 / ms:.3g} it/s; {median:.2f}x fastvae's time ({low:.2f} to {high:.2f})"


def chart(results: dict[str, dict], path: pathlib.Path, batch_size: int | None = None) -> None:
    """Bars of iterations a second, a panel for each model; a program without a figure keeps its row and says why."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(results), figsize=(1 + 4.5 * len(results), 3.6), squeeze=False)
    for axes, (work, columns) in zip(panels[0], results.items()):
        names = list(columns)[::-1]
        speeds = [0 if isinstance(columns[name], str) else 1000 / columns[name][0] for name in names]
        colours = ["tab:orange" if name.startswith("fastvae") else "tab:gray" for name in names]
        labels = [f" {speed:.3g}" if speed else " " + columns[name].split(":")[0] for name, speed in zip(names, speeds)]
        axes.bar_label(axes.barh(names, speeds, color=colours), labels)
        axes.set(title=title(work, batch_size), xlabel="iterations a second", xlim=(0, 1.2 * max(speeds)))
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def interpreter(text: str) -> tuple[str, str]:
    """`NAME=PATH` of --python."""
    name, _, path = text.partition("=")
    if name not in REQUIREMENTS or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH with NAME one of {', '.join(REQUIREMENTS)}")
    return name, path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="toy models, 2 rounds of half a second")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS), help="which models")
    parser.add_argument("--peers", nargs="+", choices=(STOCK, *REQUIREMENTS), default=[STOCK, *REQUIREMENTS])
    parser.add_argument("--isa", choices=limits.LIMITS, default="native", help="limit of every program's instructions")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, help="images a batch; by default each model's own")
    parser.add_argument("--rounds", type=int, default=6, help="blocks of each program")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a block")
    parser.add_argument(
        "--python",
        type=interpreter,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a ready interpreter for a peer, in place of an environment of its own",
    )
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder of table and chart")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.seconds = 2, 0.5
    os.environ.update(limits.LIMITS[args.isa])
    heading = f"{datetime.date.today()}, {machine()}, {args.threads} threads{', toy size' * args.quick}"
    heading += f", all limited to {args.isa}" * (args.isa != "native")
    given, pythons = dict(args.python), {}
    for name in [name for name in REQUIREMENTS if name in args.peers]:
        try:
            pythons[name] = environment(name, given)
        except Missing as missing:
            pythons[name] = missing
    results, notes = {}, []
    for work in args.works:
        results[work], load = measure(work, pythons, args)
        notes.append(f"{title(work, args.batch_size)}: {load}.")
    heading += f"; median of {args.rounds} rounds in turn, 95 % bootstrap interval."
    text = f"{heading}\n\n{table(results, args.batch_size)}\n"
    text += "\n".join(notes) + "\n"
    name = "peers" + f"-{args.isa}" * (args.isa != "native") + (f"-{args.batch_size}" if args.batch_size else "")
    tables.write(args.out / f"{name}.md", text)
    chart(results, args.out / f"{name}.png", args.batch_size)
    print(text)


if __name__ == "__main__":
    main()
