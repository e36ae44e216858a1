"""A start of the stack leaves MPI alone, and who wants it still gets it."""

import sys

from fastvae.stack import _mpi

# mpi4py as it is where no MPI library is found.
BROKEN = 'raise RuntimeError("cannot load MPI library")'

PROGRAM = """
import sys
import fastvae
import theano.tensor.io
assert not theano.tensor.io.mpi_enabled and "mpi4py.MPI" not in sys.modules
try:
    from mpi4py import MPI
except RuntimeError as error:
    print(error)
"""


def test_a_start_does_not_import_mpi_and_a_user_still_can(python, tmp_path):
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py/__init__.py").touch()
    (tmp_path / "mpi4py/MPI.py").write_text(BROKEN)
    done = python(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "cannot load MPI library"


def test_mpi_that_was_imported_before_stays(monkeypatch):
    theirs = type(sys)(_mpi.MODULE)
    monkeypatch.setitem(sys.modules, _mpi.MODULE, theirs)
    with _mpi.not_started():
        assert sys.modules[_mpi.MODULE] is theirs
    assert sys.modules[_mpi.MODULE] is theirs
