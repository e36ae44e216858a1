"""Data-parallel training: several processes, the *ranks*, each take a share of the rows and average their gradients.

    launcher    what mpiexec or srun says about the ranks, known before MPI is
    ranks       `Ranks`, what the rest of the package knows of them; one process alone is one of its kind
    mpi         ranks on MPI
    watch       names a rank that stands still
    averaging   the Op that averages loss and gradients within a step
    streams     random streams of each rank's own

Nothing here imports mpi4py unless a training is to run on it.

Examples
--------
>>> join(None).size
1
"""

from __future__ import annotations

import sys

from fastvae.parallel import launcher
from fastvae.parallel.ranks import ALONE, Ranks

__all__ = ["ALONE", "Ranks", "join"]


def join(parallel: str | None = "auto") -> Ranks:
    """The ranks that a training runs on.

    Parameters
    ----------
    parallel : {"auto", "mpi", None}
        "auto" takes MPI if a launcher says that there are several ranks, or if the program uses MPI already; None
        leaves each process alone.

    Returns
    -------
    Ranks
        The same object at each call that takes MPI.

    Raises
    ------
    ConfigurationError
        If MPI is asked for and not to be had, or has fewer ranks than the launcher announces.
    """
    if parallel is None or (parallel == "auto" and not _several()):
        return ALONE
    from fastvae.parallel import mpi

    return mpi.ranks()


def _several() -> bool:
    announced = launcher.announced()
    if announced is not None:
        return announced.size != 1
    module = sys.modules.get("mpi4py.MPI")
    return module is not None and module.Is_initialized() and module.COMM_WORLD.size > 1
