"""Kill a training run with SIGKILL again and again: does it resume every time, and end as if nothing had happened?

    python bench/kills.py --kills 100

Two of three kills wait for the temporary file of a checkpoint, so that they land inside its write; the others come
at any time. After each kill every checkpoint in the folder must be whole, and at most one interval be lost. At the end
the parameters must be bit for bit those of a run in one go. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import mmap
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
import traceback

os.environ.setdefault("OMP_NUM_THREADS", "1")  # every run is a fork, which OpenMP's threads would not survive

import numpy as np  # noqa: E402

import fastvae  # noqa: E402
from fastvae import checkpoint  # noqa: E402

EVERY = 5  # steps from one checkpoint to the next
IMAGES = np.random.default_rng(0).random((200, 1, 16, 16), dtype=np.float32)
WAIT = 120  # seconds for a run to begin


def train(n: int, **options) -> list[np.ndarray]:
    """The network after n steps, resumed where `options` say so."""
    vae = fastvae.MLPVAE(image_shape=(1, 16, 16), hidden=256, seed=1)
    vae.fit(IMAGES, n=n, batch_size=8, seed=1, progressbar=False, **options)
    return [param.get_value() for param in vae.get_params()]


def fork(folder: pathlib.Path, last_step: mmap.mmap) -> int:
    """Start a run that goes on for ever, its last step in shared memory."""
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())

        def note(approx, losses, i):
            last_step[:8] = i.to_bytes(8, "little")

        train(10**7, checkpoint=folder, checkpoint_every=EVERY, resume=True, callbacks=[note])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def kill(folder: pathlib.Path, rng: random.Random, inside: bool) -> int:
    """One run and its end; returns the last step it took."""
    last_step = mmap.mmap(-1, 8)
    before = max(checkpoint.steps(folder), default=0)
    child = fork(folder, last_step)

    def step():
        return int.from_bytes(last_step[:8], "little")

    deadline = time.monotonic() + WAIT
    wanted = before + rng.randrange(1, 40)
    while step() < wanted:
        if os.waitpid(child, os.WNOHANG) != (0, 0) or time.monotonic() > deadline:
            raise SystemExit(f"a run ended by itself or took more than {WAIT} s: {(folder / 'stderr').read_text()}")
        time.sleep(0.001)
    if inside:
        while not any(name.startswith("checkpoint") and name.endswith(".part") for name in os.listdir(folder)):
            pass
        time.sleep(rng.random() * 0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return step()


def main() -> int:
    """Print what happened and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, folder = random.Random(args.seed), pathlib.Path(tempfile.mkdtemp())
    train(0)  # the compiled modules are in memory before the first fork, and nothing was computed
    aimed = landed = most_lost = 0
    for number in range(args.kills):
        inside = number % 3 != 2
        step = kill(folder, rng, inside)
        states = [checkpoint.read(path) for path in checkpoint.steps(folder).values()]  # raises if one is not whole
        lost = step - max(state["step"] for state in states)
        aimed, most_lost = aimed + inside, max(most_lost, lost)
        landed += any(path.suffix == ".part" for path in folder.glob("checkpoint-*"))
    n = max(checkpoint.steps(folder)) + 2 * EVERY + 1
    resumed = train(n, checkpoint=folder, checkpoint_every=EVERY, resume=True)
    same = all(np.array_equal(a, b) for a, b in zip(resumed, train(n)))
    print(
        f"{args.kills} kills, {aimed} aimed at a write, {landed} found inside one; {n:,} steps, at most {most_lost} "
        f"lost at a kill (interval {EVERY}); parameters {'identical to' if same else 'DIFFERENT FROM'} a run in one go"
    )
    return 0 if same and most_lost <= EVERY and 2 * aimed >= args.kills else 1


if __name__ == "__main__":
    sys.exit(main())
