"""What `join` takes and refuses, in processes that have no launcher, and without the stack where that is enough."""

import subprocess
import sys
import types

import pytest

from fastvae import parallel
from fastvae.errors import ConfigurationError
from fastvae.parallel import ALONE, join, mpi

# A command is not started before it asks for it.
PROGRAM = """
import sys
sys.argv[0] = "fastvae"
from fastvae import parallel
from fastvae.errors import ConfigurationError
try:
    print(parallel.join({given}).size, "mpi4py.MPI" in sys.modules)
except ConfigurationError as error:
    print(error)
assert "theano" not in sys.modules
"""


@pytest.fixture
def joined(ranks_environ):
    """What a process says that joins, with some variables."""

    def joined(given="'auto'", **variables):
        code = PROGRAM.format(given=given)
        done = subprocess.run(
            [sys.executable, "-c", code], env={**ranks_environ, **variables}, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return joined


def test_without_a_launcher_mpi_is_not_imported(joined):
    assert joined() == joined(PMI_SIZE="1") == joined("None", PMI_SIZE="4") == "1 False"


def test_mpi_with_one_rank_is_a_process_alone(mpiexec, joined):
    assert joined("'mpi'") == "1 True"


def test_a_launcher_of_another_mpi_is_refused(mpiexec, joined):
    said = joined(OMPI_COMM_WORLD_SIZE="4")
    assert "the launcher announces 4 ranks (OMPI_COMM_WORLD_SIZE=4), but the MPI library" in said
    assert "has 1: they are of different MPIs" in said and len(said.splitlines()) == 1


def test_no_mpi_library(mpiexec, joined):
    said = joined("'mpi'", MPI4PY_LIBMPI="/nowhere/libmpi.so")
    assert "mpi4py finds no MPI library" in said and "pip install 'fastvae[mpi]'" in said
    assert len(said.splitlines()) == 1


def test_no_mpi4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setattr(mpi, "_ranks", None)
    with pytest.raises(ConfigurationError, match=r"mpi4py cannot be imported .*pip install 'fastvae\[mpi\]'"):
        join("mpi")


def test_a_program_that_has_ranks_already_is_taken_for_one(monkeypatch):
    theirs = types.SimpleNamespace(Is_initialized=lambda: True, COMM_WORLD=types.SimpleNamespace(size=2))
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", theirs)
    monkeypatch.setattr(parallel.launcher, "announced", lambda: None)
    monkeypatch.setattr(mpi, "ranks", lambda: "its ranks")
    assert join() == "its ranks" and join(None) is ALONE
