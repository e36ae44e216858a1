"""End trainings on several MPI ranks in every way again and again: do all ranks end, together and in order?

    python bench/rank_kills.py --kills 60
    python bench/rank_kills.py --kills 60 --prefix FOLDER    # with the MPI installed there, such as Open MPI

Every way in turn, at any time: SIGINT, SIGTERM and SIGKILL to a rank and to the launcher, SIGINT to a rank that waits
for its data, SIGKILL within the write of a checkpoint, SIGSTOP to a rank, an exception, StopIteration and NaN on one
rank, and patience. What ends in order has to end after the same step on all ranks, with a checkpoint of that step.
Whatever happens, no process may be left three seconds later (for SIGSTOP: after the time-out), and every checkpoint
must be whole. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

RANKS, EVERY, TIMEOUT = 2, 20, 1.0
GONE = 3.0  # seconds that ranks may take to end
ANSWERS = 4.0  # seconds more until the ranks agree on who stands still
WAIT = 240  # seconds for a run to begin
MARK = "RANK_KILLS_TOKEN"

#: By name: whom a signal hits, and which.
SIGNALS = {
    f"{name} to {whom}": (whom, getattr(signal, name))
    for whom in ("a rank", "the launcher")
    for name in ("SIGINT", "SIGTERM", "SIGKILL")
}
SIGNALS["SIGINT to a rank that waits for data"] = ("a rank", signal.SIGINT)
SIGNALS["SIGKILL within a write"] = ("the first rank", signal.SIGKILL)
SIGNALS["SIGSTOP to a rank"] = ("a rank", signal.SIGSTOP)
WITHIN = ("StopIteration", "exception", "NaN", "patience")
WAYS = (*SIGNALS, *WITHIN)
#: What `ended_by` is where the ranks end in order.
IN_ORDER = {
    "SIGINT to a rank": "SIGINT", "SIGTERM to a rank": "SIGTERM", "SIGINT to the launcher": "SIGINT",
    "SIGTERM to the launcher": "SIGTERM", "StopIteration": "callback", "patience": "patience",
    "SIGINT to a rank that waits for data": "SIGINT",
}  # fmt: skip
SAID = {
    "exception": "RuntimeError: this rank is tired",
    "NaN": "the loss became",
    "SIGSTOP to a rank": "rank 1 (process ",
}


def train(way: str, folder: pathlib.Path) -> None:
    """What each rank runs."""
    import numpy as np

    import fastvae  # isort: skip  (before theano)
    import pymc3 as pm
    import theano
    import theano.tensor as tt
    from mpi4py import MPI

    rank = MPI.COMM_WORLD.rank
    broken = theano.shared(np.float32(0), name="broken")
    broken.default_update = broken * np.float32(1)

    def rows(epoch, start):
        for i in itertools.count(start):
            if "waits for data" in way and MPI.COMM_WORLD.rank == 1 and i >= 100:
                time.sleep(WAIT)
            yield float(i % 8)

    x = fastvae.Minibatch(rows if "data" in way else np.arange(8.0), 2)
    held_out = {}
    with pm.Model():
        mu = pm.Normal("mu", 0, 10)
        data = tt.vector("data", dtype="float32")
        data.tag.test_value = x.tag.test_value
        pm.Normal("x", mu, 1 + broken, observed=data, total_size=8)
        if way == "patience":
            held_out = dict(held_out={data: np.arange(8.0)}, held_out_every=10, patience=3)

        def at(approx, losses, i):
            if i == 2:
                (folder / f"pid-{rank}").write_text(str(os.getpid()))
            time.sleep(0.002)
            if rank == 1 and i == 50:
                if way == "StopIteration":
                    raise StopIteration
                if way == "exception":
                    raise RuntimeError("this rank is tired")
                if way == "NaN":
                    broken.set_value(np.float32(np.nan))

        approx = fastvae.fit(
            10**7, random_seed=1, progressbar=False, obj_optimizer=fastvae.adam(learning_rate=1e-2), callbacks=[at],
            more_replacements={data: x}, checkpoint=folder / "run", checkpoint_every=EVERY, resume=True,
            rank_timeout=TIMEOUT if "SIGSTOP" in way else 60.0, **held_out,
        )  # fmt: skip
    (folder / f"ended-{rank}").write_text(f"{approx.ended_by} {len(approx.hist)}")
    print("it ended in order", flush=True)


def left(token: str) -> list[int]:
    """The processes that still run under a token."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            state = path.with_name("stat").read_text().rsplit(")", 1)[1].split()[0]
            if state != "Z" and f"{MARK}={token}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def one(
    way: str, folder: pathlib.Path, launcher: list[str], rng: random.Random, slack: float
) -> tuple[list[str], float]:
    """End one training; what was wrong with its end, and the seconds that it took."""
    token = f"{os.getpid()}-{rng.random()}"
    log = folder / "log"
    with open(log, "w") as file:
        process = subprocess.Popen(
            [*launcher, "-n", str(RANKS), sys.executable, __file__, "--way", way, "--folder", str(folder)],
            env={**os.environ, MARK: token, "OMP_NUM_THREADS": "1"}, stdout=file, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        began = _begin(process, folder)
        if not began and way in SIGNALS:
            return [f"it did not begin: {log.read_text()[-2000:]}"], 0.0
        time.sleep(rng.uniform(0.0, 0.5))
        if way in SIGNALS:
            _send(*SIGNALS[way], process, folder)
            since = time.monotonic()
        else:
            since = _until_said(way, log, process)
        allowed = GONE + slack + (TIMEOUT + ANSWERS if "SIGSTOP" in way else 0)
        while left(token) and time.monotonic() - since < allowed:
            process.poll()
            time.sleep(0.02)
        taken = time.monotonic() - since
        remaining = left(token)
        wrong = [f"{len(remaining)} processes were left after {allowed:g} s\n{log.read_text()}"] if remaining else []
    finally:
        for pid in left(token):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    return wrong + _wrong_in(way, log.read_text(), folder), taken


def _begin(process: subprocess.Popen, folder: pathlib.Path) -> bool:
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline and process.poll() is None:
        if all((folder / f"pid-{rank}").exists() for rank in range(RANKS)):
            return True
        time.sleep(0.01)
    return False


def _send(whom: str, number: int, process: subprocess.Popen, folder: pathlib.Path) -> None:
    if whom == "the launcher":
        process.send_signal(number)
        return
    if whom == "the first rank":
        deadline = time.monotonic() + WAIT
        while not list((folder / "run").glob("checkpoint*.part")) and time.monotonic() < deadline:
            pass
    os.kill(int((folder / f"pid-{0 if whom == 'the first rank' else 1}").read_text()), number)


def _until_said(way: str, log: pathlib.Path, process: subprocess.Popen) -> float:
    """When a training that ends by itself said so."""
    deadline = time.monotonic() + WAIT
    words = SAID.get(way, "it ended in order")
    while words not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return time.monotonic()


def _wrong_in(way: str, said: str, folder: pathlib.Path) -> list[str]:
    from fastvae import checkpoint

    wrong = []
    steps = checkpoint.steps(folder / "run")
    for path in steps.values():
        try:
            checkpoint.read(path)
        except checkpoint.DamagedError as error:
            wrong.append(str(error))
    if not steps:
        wrong.append("there is no checkpoint")
    if way in SAID and SAID[way] not in said:
        wrong.append(f"nobody said {SAID[way]!r}")
    if way in IN_ORDER:
        ends = [path.read_text() for path in folder.glob("ended-*")]  # a launcher that ends passes nothing on
        if "launcher" in way:  # some send SIGTERM, whatever they get
            ends = [end.replace("SIGTERM", IN_ORDER[way]) for end in ends]
        if ends != RANKS * [f"{IN_ORDER[way]} {max(steps, default=0)}"]:
            wrong.append(f"the ranks ended in {ends}, the last checkpoint is of step {max(steps, default=0)}")
    return [f"{each}\n{said[-3000:]}" for each in wrong]


def launcher_of(prefix: str | None) -> list[str]:
    """The command that starts ranks, of the MPI in a folder or of this environment."""
    folder = pathlib.Path(prefix or sys.prefix)
    command = [str(folder / "bin" / "mpiexec")]
    version = subprocess.run([*command, "--version"], text=True, capture_output=True).stdout
    if "Open MPI" in version or "prte" in version.lower():
        os.environ.setdefault("MPI4PY_LIBMPI", str(folder / "lib" / "libmpi.so.40"))
        command.append("--oversubscribe")
        if os.geteuid() == 0:
            command.append("--allow-run-as-root")
    return command


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--prefix", help="where an MPI is installed; by default this environment")
    parser.add_argument("--slack", type=float, default=0.0, help="seconds more for an end, on a busy machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="by default all")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        train(args.way, pathlib.Path(args.folder))
        return 0
    launcher, rng, failed = launcher_of(args.prefix), random.Random(args.seed), 0
    for i in range(args.kills):
        way = args.ways[i % len(args.ways)]
        with tempfile.TemporaryDirectory() as folder:
            wrong, taken = one(way, pathlib.Path(folder), launcher, rng, args.slack)
        failed += bool(wrong)
        print(f"{i + 1:3} {way}: {'; '.join(wrong) or f'all ended in {taken:.1f} s'}", flush=True)
    print(f"{args.kills} ends of {RANKS} ranks, {failed} of them wrong")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
