"""The backend without AVX-512, on a processor that may have it: the seed models' steps, and what computed them."""

import re
import subprocess

import numpy as np
import pytest

from bench import problem
from fastvae.backends.cpu import library
from fastvae.devices import instructions

BATCH = 8  # images, enough tiles for Winograd's kernel
AGREEMENT = 1e-5
TAKE = """
import numpy as np

from bench.fastvae_worker import seed_step
from bench.problem import load


def take(path):
    step = seed_step(load(path), given=True)
    loss = float(step())
    state = [shared.get_value() for shared in step.get_shared()]
    return [np.float32(loss), *(value for value in state if value.dtype == "float32")]

"""
PROGRAM = """
import scipy.linalg
import threadpoolctl

from fastvae.backends.cpu import library
from fastvae.profiles import active

print("start", flush=True)
for path in paths:
    np.savez(path + ".limited.npz", *take(path))
print("compiled", library.compiled())
for pool in threadpoolctl.threadpool_info():
    if pool["filepath"] == active().blas_path:
        print("BLAS", pool["architecture"])
"""


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    paths = []
    for model in ("conv", "mlp"):
        paths.append(str(tmp_path_factory.mktemp(model) / "problem.npz"))
        problem.write(paths[-1], model, steps=1, batch_size=BATCH)
    return paths


def test_a_step_of_each_seed_model_is_that_of_the_whole_processor(paths, python):
    done = python(f"{TAKE}paths = {paths!r}\n{PROGRAM}", FASTVAE_PROFILE="cpu:avx2", ONEDNN_VERBOSE="1")
    assert done.returncode == 0, done.stderr
    exec(TAKE, scope := {})
    for path in paths:
        with np.load(f"{path}.limited.npz") as stored:
            limited = [stored[name] for name in stored.files]
        whole = scope["take"](path)
        assert len(whole) == len(limited) > 10
        for a, b in zip(limited, whole):
            assert np.linalg.norm(a - b) <= AGREEMENT * np.linalg.norm(b)

    executed = [line.split(",") for line in done.stdout.split("start")[1].splitlines() if ",exec,cpu," in line]
    kernels = {words[4] for words in executed}
    assert {"fastvae_winograd", "fastvae_pointwise", "fastvae_narrow"} <= kernels
    assert not [name for name in kernels if "avx512" in name or "amx" in name]
    (module,) = re.findall(r"^compiled (.*)$", done.stdout, re.M)
    assert "-avx2/" in module and registers(module) == {"ymm"}
    assert "BLAS Haswell" in done.stdout


def registers(module):
    """The widest vector registers that a compiled module names."""
    assembly = subprocess.run(["objdump", "-d", module], capture_output=True, text=True, check=True).stdout
    return {name for name in ("ymm", "zmm") if f"%{name}" in assembly}


def test_without_a_limit_the_whole_processor_is_used():
    assert ("zmm" in registers(library.compiled())) is (instructions.widest(instructions.flags()) == "AVX-512")
