"""How training scales over MPI ranks: measured on this machine and over simulated networks, and predicted beyond.

    python bench/scale_out.py [--quick] [--out bench/results]

Writes `scale_out.md` and `scale_out.png`. Strong scaling keeps the images of a step, weak scaling those of a rank. Each
number of ranks shares the cores that one process has. A network is two network namespaces, joined by a veth pair with a
rate limit (tbf), which needs root, iproute2, and a launcher that MPICH's `mpiexec` is; without them it is left out and
the report says so.

An Allreduce of S bytes over n ranks is taken to last T = min(2 (n - 1), 2 log2 n) alpha + 2 (n - 1) / n S / B. Both
alpha and B are fitted to messages of many sizes; for networks that are not here they are assumed, and marked so.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402

from bench import tables  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
LONGEST = 600  # seconds for a group of ranks
BATCH = 64  # images of a step, or of a rank
SIZES = tuple(4**k for k in range(1, 14))  # bytes of the messages
SPACES, DEVICE = ("fvA", "fvB"), "fv0"
RATES = {"10 Gbit/s": "10gbit", "1 Gbit/s": "1gbit"}
TCP = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": DEVICE, "MPIR_CVAR_NOLOCAL": "1"}
#: Networks that are not here: alpha in seconds, bytes a second in one direction. Typical figures of their vendors.
ASSUMED = {
    "Ethernet, 100 Gbit/s": (10e-6, 12.5e9),
    "InfiniBand HDR, 200 Gbit/s": (2e-6, 25e9),
    "NVLink 4, 450 GB/s": (5e-6, 450e9),
}
PREDICTED = tuple(2**k for k in range(1, 11))


class Run(NamedTuple):
    """A training: milliseconds a step, and of these within the Allreduce."""

    ms: float
    reducing: float


class Network(NamedTuple):
    """Latency of a message in seconds, and bytes a second."""

    alpha: float
    rate: float

    def seconds(self, ranks: int, size: float) -> float:
        """How long an Allreduce of so many bytes lasts."""
        if ranks == 1:
            return 0.0
        return _messages(ranks) * self.alpha + _share(ranks) * size / self.rate


def _messages(ranks: int) -> float:
    return min(2 * (ranks - 1), 2 * math.log2(ranks))


def _share(ranks: int) -> float:
    return 2 * (ranks - 1) / ranks


def fitted(ranks: int, sizes: Sequence[int], seconds: Sequence[float]) -> Network:
    """The network that fits measured times best, by least squares of relative errors; neither figure below 0."""
    weights = 1 / np.asarray(seconds)
    design = np.stack([np.full(len(sizes), _messages(ranks)), _share(ranks) * np.asarray(sizes, float)], axis=1)
    from scipy.optimize import nnls

    (alpha, per_byte), _ = nnls(design * weights[:, None], np.ones(len(sizes)))
    return Network(float(alpha), 1 / max(float(per_byte), 1e-15))


def train(model: str, batch: int, steps: int) -> dict:
    """What each rank runs: a seed model on random images."""
    import time

    import fastvae
    from bench.problem import SEED
    from fastvae import parallel
    from fastvae.training.parts import Part

    ranks, reducing, ends = parallel.join(), [], []
    stock = ranks.average

    def timed(values, out):
        began = time.perf_counter()
        stock(values, out)
        reducing.append(time.perf_counter() - began)

    class Ends(Part):
        def after_step(self, run, step):
            ends.append(time.perf_counter())

    ranks.average = timed
    vae = {"conv": fastvae.ConvVAE, "mlp": fastvae.MLPVAE}[model](**SEED[model], seed=1)
    images = np.random.default_rng(0).random((1024, 1, 28, 28), dtype="float32")
    vae.fit(images, n=steps + 10, batch_size=batch, seed=1, progressbar=False, parts=[Ends()])
    del ranks.average
    parameters = sum(param.get_value(borrow=True).nbytes for param in vae.get_params())
    ms, waited = 1e3 * np.median(np.diff(ends)[9:]), 1e3 * np.median(reducing[10:] or [0.0])
    return {"ms": float(ms), "reducing": float(waited), "bytes": parameters, "first": ranks.is_first}


def messages() -> dict:
    """What each rank runs to time messages alone: seconds of an Allreduce of each size."""
    import time

    from mpi4py import MPI

    world, seconds = MPI.COMM_WORLD, []
    for size in SIZES:
        buffer, times = np.ones(max(1, size // 4), np.float32), []
        for _ in range(5 if size > 2**22 else 30):
            world.Barrier()
            began = time.perf_counter()
            world.Allreduce(MPI.IN_PLACE, buffer)
            times.append(time.perf_counter() - began)
        slowest = np.array(times)
        world.Allreduce(MPI.IN_PLACE, slowest, op=MPI.MAX)
        seconds.append(float(np.median(slowest)))
    return {"seconds": seconds, "first": world.rank == 0}


def launched(ranks: int, *work: str, spaces: bool = False) -> dict:
    """What the first rank of a group reports."""
    program = [sys.executable, "-W", "ignore", str(pathlib.Path(__file__).resolve()), "--work", *work]
    environ = {**os.environ, "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // ranks))}
    command = program
    if spaces:
        environ.update(TCP)
        command = [_mpiexec()]
        for i, space in enumerate(SPACES):
            command += [":"] * (i > 0) + ["-n", "1", "ip", "netns", "exec", space, *program]
    elif ranks > 1:
        command = [_mpiexec(), "-n", str(ranks), *program]
    done = subprocess.run(
        command, env=environ, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=LONGEST
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return json.loads(lines[0])


def _mpiexec() -> str:
    beside = pathlib.Path(sys.prefix, "bin", "mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise SystemExit("there is no mpiexec here: pip install 'fastvae[mpi]'")
    return found


def no_networks() -> str | None:
    """Why networks cannot be simulated here, or None."""
    if os.geteuid() != 0:
        return "networks need root"
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    return f"networks need iproute2, which lacks {' and '.join(missing)}: apt-get install iproute2" if missing else None


@contextlib.contextmanager
def network(rate: str) -> Iterator[None]:
    """Two network namespaces joined by a link of a rate, within the block."""
    first, second = SPACES

    def ip(*arguments: str, check: bool = True) -> None:
        subprocess.run(["ip", *arguments], check=check, capture_output=True)

    def remove() -> None:
        for space in SPACES:
            ip("netns", "delete", space, check=False)

    remove()
    try:
        for space in SPACES:
            ip("netns", "add", space)
        ip("link", "add", first, "type", "veth", "peer", "name", second)
        for i, space in enumerate(SPACES, start=1):
            ip("link", "set", space, "netns", space)
            ip("-n", space, "link", "set", space, "name", DEVICE)
            ip("-n", space, "addr", "add", f"10.77.0.{i}/24", "dev", DEVICE)
            for up in ("lo", DEVICE):
                ip("-n", space, "link", "set", up, "up")
            limit = ["rate", rate, "burst", "512kb", "latency", "50ms"]
            shaped = ["tc", "-n", space, "qdisc", "add", "dev", DEVICE, "root", "tbf", *limit]
            subprocess.run(shaped, check=True, capture_output=True)
        yield
    finally:
        remove()


def measure(models: Sequence[str], counts: Sequence[int], steps: int) -> tuple[list[list], dict[str, float], dict]:
    """Rows of the table, bytes of each model's parameters, and times of messages by network."""
    rows, sizes, alone = [], {}, {}

    def add(model: str, where: str, ranks: int, batch: int, **options: bool) -> Run:
        found = launched(ranks, "train", model, str(batch), str(steps), **options)
        sizes[model] = found["bytes"]
        run = Run(found["ms"], found["reducing"])
        images = 1e3 * ranks * batch / run.ms
        base = alone.setdefault(model, images)
        share = f"{run.reducing / run.ms:.0%}"
        rows.append([model, where, ranks, batch, f"{run.ms:.2f}", f"{run.reducing:.2f}", share, f"{images / base:.2f}"])
        return run

    times = {"shared memory": launched(2, "messages")["seconds"]}
    for model in models:
        add(model, "one process", 1, BATCH)
        for ranks in counts:
            add(model, "shared memory, strong", ranks, BATCH // ranks)
            add(model, "shared memory, weak", ranks, BATCH)
    if no_networks() is None:
        for name, rate in RATES.items():
            with network(rate):
                times[name] = launched(2, "messages", spaces=True)["seconds"]
                for model in models:
                    add(model, f"{name}, strong", 2, BATCH // 2, spaces=True)
    return rows, sizes, times


def predicted(
    networks: dict[str, Network], sizes: dict[str, float], compute: dict[str, float]
) -> dict[str, dict[str, list[float]]]:
    """By model and network: images a second over those of as many ranks that need not wait, for numbers of ranks."""
    return {
        model: {
            name: [compute[model] / (compute[model] + each.seconds(n, sizes[model])) for n in PREDICTED]
            for name, each in networks.items()
        }
        for model in sizes
    }


def chart(shares: dict[str, dict[str, list[float]]], path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(shares), figsize=(6.5 * len(shares), 4), squeeze=False)
    for panel, (model, by_network) in zip(axes.flat, shares.items()):
        for name, values in by_network.items():
            panel.semilogx(PREDICTED, values, ":" if name in ASSUMED else "-", base=2, label=name)
        panel.set(
            title=f"{model}, predicted", xlabel="ranks", ylabel="weak scaling, share of the ideal", ylim=(0, 1.02)
        )
        panel.legend(fontsize=7, title="solid: fitted here; dotted: assumed", title_fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def report(rows: list[list], sizes: dict[str, float], times: dict, quick: bool) -> tuple[str, dict]:
    compute = {model: float(next(row[4] for row in rows if row[0] == model)) / 1e3 for model in sizes}
    here = {name: fitted(2, SIZES, seconds) for name, seconds in times.items()}
    networks = {**here, **{name: Network(*figures) for name, figures in ASSUMED.items()}}
    shares = predicted(networks, sizes, compute)
    names = ["model", "where", "ranks", "images a rank", "ms a step", "in the Allreduce", "share", "images/s over one"]
    constants = [
        [name, "fitted" if name in here else "assumed", f"{1e6 * each.alpha:.1f}", f"{each.rate / 1e9:.2f}"]
        for name, each in networks.items()
    ]
    far = [
        [model, name, *(f"{values[PREDICTED.index(n)]:.0%}" for n in (2, 16, 128, 1024))]
        for model, by_network in shares.items()
        for name, values in by_network.items()
    ]
    left_out = no_networks()
    text = (
        f"Scaling over MPI ranks{', quick' * quick}. {datetime.date.today()}, {os.cpu_count()} cores.\n\n"
        f"Measured:\n\n{tables.table(names, rows)}\n\n"
        + (f"No network was simulated: {left_out}.\n\n" if left_out else "")
        + f"Networks:\n\n{tables.table(['network', 'constants', 'alpha, µs', 'GB/s'], constants)}\n\n"
        "Predicted, not measured: share of ideal weak scaling, of a step that computes as long as one process here\n\n"
        f"{tables.table(['model', 'network', *(f'{n:,} ranks' for n in (2, 16, 128, 1024))], far)}\n"
    )
    return text, shares


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the small model alone, a few steps")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder of table and plot")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.work:
        name, *rest = args.work
        found = messages() if name == "messages" else train(rest[0], int(rest[1]), int(rest[2]))
        if found.pop("first"):
            print(json.dumps(found), flush=True)
        return
    models = ("mlp",) if args.quick else ("conv", "mlp")
    text, shares = report(*measure(models, (2,) if args.quick else (2, 4), 20 if args.quick else 60), args.quick)
    tables.write(args.out / "scale_out.md", text)
    chart(shares, args.out / "scale_out.png")
    print(text)


if __name__ == "__main__":
    main()
