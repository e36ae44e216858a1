"""Groups of ranks, on the MPI of this environment."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import OURS, ROOT, compile_cache
from tests.parallel import problem

MPIEXEC = pathlib.Path(sys.prefix, "bin", "mpiexec")


@pytest.fixture(scope="session")
def mpiexec():
    """The launcher; without one a test is skipped, in CI it fails."""
    found = MPIEXEC if MPIEXEC.exists() else shutil.which("mpiexec")
    if found and importlib.util.find_spec("mpi4py"):
        return str(found)
    reason = "there is no MPI here: pip install '.[mpi]'"
    return pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def ranks_environ():
    environ = {name: value for name, value in os.environ.items() if name not in OURS}
    environ.update(THEANO_FLAGS=f"base_compiledir={compile_cache()}", FASTVAE_PROFILE="cpu", OMP_NUM_THREADS="1")
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
    return environ


@pytest.fixture(scope="session")
def launch(mpiexec, ranks_environ):
    """Run a Python program on ranks: what it said, and its status."""

    def launch(n, *command, timeout=900, **environ):
        return subprocess.run(
            [mpiexec, "-n", str(n), sys.executable, *map(str, command)], env={**ranks_environ, **environ},
            text=True, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return launch


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder for all groups, with images."""
    folder = tmp_path_factory.mktemp("ranks")
    np.save(folder / "images.npy", problem.IMAGES)
    return folder


@pytest.fixture(scope="session")
def group(launch, shared_folder):
    """Run cases of `tests.parallel.cases` on ranks: for each a list of the ranks' results, and what was said."""

    def group(n, *cases, program="cases", folder=shared_folder, **environ):
        done = launch(n, "-m", f"tests.parallel.{program}", folder, *cases, **environ)
        assert done.returncode == 0, done.stderr[-5000:]
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]  # beside what libraries print
        found = json.loads(line)
        failed = [each["failed"] for results in found.values() for each in results if each and "failed" in each]
        assert not failed, failed[0]
        return found, done.stderr

    return group
