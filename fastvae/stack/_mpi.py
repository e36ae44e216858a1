"""Importing theano does not start MPI.

`theano.tensor.io` imports `mpi4py.MPI` for its own send and receive Ops. Where mpi4py is installed that initialises MPI
in every process, and ends the import with an error where mpi4py finds no MPI library. A program that wants MPI imports
it by itself, before fastvae or after.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

MODULE = "mpi4py.MPI"


@contextlib.contextmanager
def not_started() -> Iterator[None]:
    """Import theano in the block as if there were no mpi4py, unless MPI was imported before."""
    if MODULE in sys.modules:
        yield
        return
    sys.modules[MODULE] = None  # type: ignore[assignment]  # whoever imports it gets an ImportError
    try:
        yield
    finally:
        del sys.modules[MODULE]
