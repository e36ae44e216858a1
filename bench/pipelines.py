"""What feeding the step costs: images a second of each pipeline, and a data set twice the allowed memory, streamed.

    python bench/pipelines.py feed [--torch /path/to/python]    each pipeline alone, against pm.Minibatch and DataLoader
    python bench/pipelines.py stream [--memory-mb 2048]         the seed step fed from disk against resident, in turn

`stream` allows its process that much data memory (RLIMIT_DATA; pages of the mapped file are the system's and do not
count), shows that the data cannot be loaded, and drops the file's pages before it begins: rows come from the disk.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from bench.steps import compiled_step  # noqa: E402

BATCH, ROW = 64, (1, 28, 28)
TORCH = """
import sys, time, numpy as np, torch
images = torch.from_numpy(np.load(sys.argv[1]))
for workers in (0, 2):
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images), int(sys.argv[2]), shuffle=True, num_workers=workers)
    for timed in (False, True):
        started, n = time.perf_counter(), 0
        for (batch,) in loader:
            n += len(batch.float().div_(255))
    print(f"torch {torch.__version__} DataLoader, uint8, {workers} workers|{n / (time.perf_counter() - started)}")
"""


def rate(step: Callable, advance: Callable, seconds: float) -> float:
    """Calls a second."""
    n, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(10):
            advance()
            step()
        n += 10
    return n / (time.perf_counter() - started)


def minibatches(folder: str) -> dict:
    """Minibatches of 60,000 images of noise, one of each pipeline, by name; stock's first."""
    import fastvae  # isort: skip  (before pymc3)
    import pymc3 as pm

    images = np.random.default_rng(0).integers(0, 256, (60_000, *ROW), dtype=np.uint8)
    floats = images / np.float32(255)
    path = os.path.join(folder, "images.npy")
    np.save(path, images)
    return {
        "pm.Minibatch, float32": pm.Minibatch(floats, BATCH),
        "resident, float32, replacement": fastvae.Minibatch(floats, BATCH),
        "resident, float32, epochs": fastvae.Minibatch(floats, BATCH, sampler="epochs"),
        "resident, uint8, replacement": fastvae.Minibatch(images, BATCH, scale=1 / 255),
        "resident, uint8, epochs": fastvae.Minibatch(images, BATCH, sampler="epochs", scale=1 / 255),
        "resident, uint8, binarized": fastvae.Minibatch(images, BATCH, scale=1 / 255, binarize=True),
        "streamed .npy, uint8, epochs": fastvae.Minibatch(path, BATCH, sampler="epochs", scale=1 / 255),
    }


def feeds_of(batches: dict) -> dict[str, tuple[Callable, Callable]]:
    """(what computes a batch, what advances to the next) of each of `minibatches`, by name."""
    import theano

    pipelines = {name: getattr(x.tag, "pipeline", None) for name, x in batches.items()}
    advances = {name: pipeline.advance if pipeline else (lambda: None) for name, pipeline in pipelines.items()}
    return {name: (theano.function([], x), advances[name]) for name, x in batches.items()}


def feed(torch: str | None, seconds: float, blocks: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        batches = minibatches(folder)
        feeds = feeds_of(batches)
        rates = {name: [] for name in feeds}
        for block in range(blocks):
            for name in list(feeds)[:: 1 if block % 2 else -1]:
                rates[name].append(BATCH * rate(*feeds[name], seconds))
        batches["streamed .npy, uint8, epochs"].tag.pipeline.close()
        data = [shared for step, _ in feeds.values() for shared in step.get_shared() if shared.ndim == 4]
        lines = [(name, statistics.median(values)) for name, values in rates.items()]
        if torch:
            command = [torch, "-c", TORCH, os.path.join(folder, "images.npy"), str(BATCH)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            lines += [(line.split("|")[0], float(line.split("|")[1])) for line in done.stdout.splitlines()]
    for name, images_a_second in lines:
        print(f"{name}: {images_a_second:,.0f} images/s, {1e6 * BATCH / images_a_second:.0f} us a batch of {BATCH}")
    sizes = {(shared.dtype, shared.get_value(borrow=True).nbytes) for shared in data}
    print("bytes held for 60,000 images:", sorted(sizes))


def write(path: pathlib.Path, n_bytes: int) -> int:
    """An .npy file of random images of that size."""
    n_rows = n_bytes // 784
    rows = np.random.default_rng(0).integers(0, 256, (50_000, *ROW), dtype=np.uint8)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (n_rows, *ROW)})
        for start in range(0, n_rows, len(rows)):
            rows[: n_rows - start].tofile(file)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return n_rows


def stream(memory_mb: int, folder: str, seconds: float, blocks: int) -> None:
    limit = memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    import fastvae

    path = pathlib.Path(folder, "fastvae-bench-rows.npy")
    try:
        n_rows = write(path, 2 * limit)
        try:
            np.load(path)
            raise SystemExit("the limit does not hold")
        except MemoryError:
            print(f"{path.stat().st_size:,} bytes do not load into {limit:,}")
        streamed = fastvae.Minibatch(path, BATCH, sampler="epochs", scale=1 / 255)
        first = np.load(path, mmap_mode="r")[:60_000]
        resident = fastvae.Minibatch(np.array(first), BATCH, sampler="epochs", scale=1 / 255)
        steps = {}
        for name, x in (("resident", resident), ("streamed", streamed)):
            steps[name] = compiled_step("conv", x, BATCH, n_rows), x.tag.pipeline.advance
            rate(*steps[name], 0)
        speeds = {name: [] for name in steps}
        for block in range(blocks):
            for name in list(steps)[:: 1 if block % 2 else -1]:
                speeds[name].append(rate(*steps[name], seconds))
        streamed.tag.pipeline.close()
    finally:
        path.unlink(missing_ok=True)
    ratios = [ours / theirs for ours, theirs in zip(speeds["streamed"], speeds["resident"])]
    for name, values in speeds.items():
        print(f"{name}: {statistics.median(values):.2f} steps/s")
    print(f"streamed / resident: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MB, mapped pages included")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("feed", "stream"))
    parser.add_argument("--torch", help="a Python interpreter that has torch")
    parser.add_argument("--memory-mb", type=int, default=2048)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the large file goes")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a block")
    parser.add_argument("--blocks", type=int, default=4)
    args = parser.parse_args()
    if args.what == "feed":
        feed(args.torch, args.seconds, args.blocks)
    else:
        stream(args.memory_mb, args.folder, args.seconds, args.blocks)


if __name__ == "__main__":
    main()
