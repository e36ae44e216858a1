"""Compile what a GPU's report needs on a machine without a GPU, for a bundle (`make_bundle.py --ahead FOLDER`).

    python -m bench.ahead FOLDER

Each of the report's programs runs once on the tests' CUDA device (`tests/cuda_device`) with the newest nvrtc of this
environment, whose kernels serve a host with the same version of it. C modules are compiled for any x86-64 processor.
`FOLDER/modules` and `FOLDER/compile` are described in `keep_compiled.py`; `FOLDER/stock.json` has stock PyMC3's losses
on the seed models' problems, by a hash of the problem; `FOLDER/shims` the libraries that stand before CUDA's. So a host
needs no compiler for the report. It takes some minutes, most of them stock's.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import gpu_speed  # noqa: E402
from bench.pairing import Worker, WorkerFailed, write_problem  # noqa: E402
from bench.problem import load  # noqa: E402
from fastvae.devices import cuda_loading  # noqa: E402

MODELS = ("conv", "mlp")
SHIMS = {  # the plain names that libgpuarray opens, and the libraries behind them that a host may have
    "libcuda.so": ["libcuda.so.1"],
    "libnvrtc.so": ["libnvrtc.so.12", "libnvrtc.so.13"],
    "libcublas.so": ["libcublas.so.12", "libcublas.so.13"],
}
REQUESTS = '{"request": "check"}\n{"request": "start", "fetch_every": 1}\n'
ANY_PROCESSOR = "gcc.cxxflags=-O2 -march=x86-64"


def programs(folder: pathlib.Path) -> list[tuple[str, list[str]]]:
    """(profile, module and arguments) of the report's programs, at toy size: kernels depend on no size."""
    found = []
    for profile in gpu_speed.WHERE.values():
        found.append((profile, ["bench.gpu_checks", "--small"]))
        found.append((profile, ["bench.gpu_training", "--steps", "2", "--quick"]))
        for model in MODELS:
            found.append((profile, ["bench.fastvae_worker", str(folder / f"{model}.npz"), "seed"]))
    for model in MODELS:
        found.append(("cuda", ["bench.gpu_sizes", model, "4", "--quick"]))
        found.append(("cuda", ["bench.gpu_where", model, "--quick"]))
    return found


def compiled(folder: pathlib.Path, device: dict[str, str], compile_folder: str) -> None:
    """Run all programs on a device, whose environment is given, and keep what they compile in a folder."""
    with tempfile.TemporaryDirectory() as problems:
        for model in MODELS:
            write_problem(pathlib.Path(problems, f"{model}.npz"), model, quick=True)
        flags = f"base_compiledir={compile_folder},{ANY_PROCESSOR}"
        for profile, command in programs(pathlib.Path(problems)):
            environ = {**os.environ, **device, "FASTVAE_PROFILE": profile, "THEANO_FLAGS": flags}
            keep = [sys.executable, "-W", "ignore", "-m", "bench.keep_compiled", str(folder), *command]
            print(profile, *command, file=sys.stderr, flush=True)
            done = subprocess.run(keep, cwd=ROOT, env=environ, input=REQUESTS, capture_output=True, text=True)
            if done.returncode:
                raise WorkerFailed(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")


def shims(folder: pathlib.Path) -> None:
    """Compile the shims of `fastvae/devices/cuda_loading.py` into a folder."""
    folder.mkdir(parents=True)
    for plain, libraries in SHIMS.items():
        for library in libraries:
            for source in (os.devnull, *([cuda_loading.TF32] if plain == "libcublas.so" else [])):
                shim = folder / cuda_loading.shim_name(plain, library, source)
                cuda_loading.make_shim(plain, library, str(shim), source=source)


def stocks_losses(quick: bool = False) -> dict[str, list[float]]:
    """Stock PyMC3's losses on the seed models' problems, by the problem's digest."""

    def losses(model):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "problem.npz")
            environ = write_problem(path, model, quick)
            worker = Worker("stock", "bench.stock", (path, "seed"), {**environ, "OMP_NUM_THREADS": "1"})
            try:
                return gpu_speed.digest(load(path)), worker.check()
            finally:
                worker.kill()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(pool.map(losses, MODELS))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="a new folder")
    args = parser.parse_args(argv)
    if args.folder.exists():
        raise SystemExit(f"{str(args.folder)!r} is there already: give a new folder")
    from fastvae.devices import cuda_search
    from tests import cuda_device

    (nvrtc, *_) = cuda_search.candidates("nvrtc") or [""]
    with tempfile.TemporaryDirectory() as home, concurrent.futures.ThreadPoolExecutor(1) as pool:
        stock = pool.submit(stocks_losses)
        built = pathlib.Path(home, "device")
        built.mkdir()
        major = int(nvrtc.rpartition(".")[2]) if nvrtc else 12
        device = cuda_device.environ(cuda_device.build(built, cuda=major))
        compiled(args.folder, device, os.path.join(home, "compile"))
        shims(args.folder / "shims")
        (args.folder / "stock.json").write_text(json.dumps(stock.result()) + "\n")


if __name__ == "__main__":
    main()
