"""What the GPU step of the seed model asks of a device, on a dry-run one: counts, and the host's time for it.

    python bench/dry_run.py

Needs gcc, pygpu with libgpuarray's headers, and the wheels of `.[test]`, and no GPU: driver, cuBLAS and cuDNN of the
tests (`tests/cuda_device`) count, and compute nothing here. So the milliseconds are the host's own, for a step that
Theano runs Op by Op and for one that is launched as a CUDA graph: no GPU gets below them.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
PROGRAM = "tests.backends.gpu.program"


def figures() -> dict[str, float]:
    """The step's figures: launches, copies, synchronisations, allocations, convolutions, products, nodes, host time.

    Raises
    ------
    RuntimeError
        If the step does not run, with its reason.
    """
    from tests import cuda_device

    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, **cuda_device.environ(cuda_device.build(pathlib.Path(folder)))}
        environ["TEST_DEVICE_EXECUTE"] = "0"
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        command = [sys.executable, "-W", "ignore", "-m", PROGRAM, "host time"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the dry run ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    report = json.loads(done.stdout.splitlines()[-1])
    return {
        **cuda_device.figures(report["step"]),
        "nodes": report["nodes"],
        "host milliseconds": report["milliseconds"],
        "host milliseconds as a graph": report["replayed"],
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name, value in figures().items():
        print(f"{name.replace('_', ' ')}: {value:.3g}")


if __name__ == "__main__":
    main()
