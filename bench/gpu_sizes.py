"""A seed model's step at several batch sizes under the environment's profile.

    FASTVAE_PROFILE=cuda python -m bench.gpu_sizes conv 16 64 256 1024 [--quick]

Prints a line of JSON once all steps are compiled, waits for a line on standard input, and then prints one for each
size.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

from bench import fastvae_worker, problem  # fastvae, before theano
from fastvae import timing

BLOCKS, SECONDS = 3, 0.5


def step_of(model: str, batch_size: int, quick: bool):
    """The step at one batch size."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "problem.npz")
        problem.write(path, model, quick, steps=1, batch_size=batch_size)
        return fastvae_worker.seed_step(problem.load(path), given=False)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("conv", "mlp"))
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--quick", action="store_true", help="toy size")
    args = parser.parse_args(argv)
    steps = {size: step_of(args.model, size, args.quick) for size in args.sizes}
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    for size, step in steps.items():
        every = 1 if args.quick else fastvae_worker.fetch_every()
        blocks = 1 if args.quick else BLOCKS
        measured = timing.measure(step, blocks, SECONDS, lambda step=step: fastvae_worker.wait_for(step), every)
        row = {"batch_size": size, "milliseconds": measured.milliseconds}
        print(json.dumps({**row, "images_a_second": 1000 * size / measured.milliseconds}), flush=True)


if __name__ == "__main__":
    main()
