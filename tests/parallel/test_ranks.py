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

MEANS = """
import sys
sys.argv[0] = "fastvae"
import numpy as np
from fastvae import parallel
from fastvae.parallel.mpi import PIECE, SMALL
ranks = parallel.join()
assert "theano" not in sys.modules

def of(rank):
    rng = np.random.default_rng(rank)
    shapes = [(), (3, 5), (SMALL + 1,), (300, 400), (PIECE + 7,), (0,)]
    arrays = [rng.random(shape, dtype="float32") for shape in shapes]
    arrays[1], arrays[3] = arrays[1].T[::2], arrays[3].T  # neither is in one piece
    return [*arrays, rng.random(4), rng.random((2, SMALL))]

everyone = [of(rank) for rank in range(ranks.size)]
for in_place in (False, True):
    values = of(ranks.rank)
    out = values if in_place else [np.full_like(value, 9) for value in values]
    ranks.wish = ranks.rank == 1 and in_place
    ranks.average(values, out)
    for found, *theirs in zip(out, *everyone):
        np.testing.assert_allclose(found, np.mean(theirs, axis=0, dtype=float), rtol=1e-6)
    assert ranks.stopping == in_place
    assert in_place or all((a == b).all() for a, b in zip(values, everyone[ranks.rank]))
print(f"rank {ranks.rank} is right\\n", end="", flush=True)
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


@pytest.mark.parametrize("size", [2, 3])
def test_means_of_every_size_and_layout(launch, size):
    done = launch(size, "-c", MEANS)
    assert done.returncode == 0 and done.stdout.count("is right") == size, done.stderr


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
