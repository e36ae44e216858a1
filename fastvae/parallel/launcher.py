"""What a launcher (mpiexec, srun) says about the ranks that it started: in the environment, so without MPI.

Examples
--------
>>> announced({"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"})
Announced(variable='PMI_SIZE', size=4, here=2, place=1)
>>> announced({}) is None
True
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping
from typing import NamedTuple

# Variables with the number of ranks, the launcher's before those of the scheduler under it: Open MPI, MVAPICH, MPICH
# and its kin, and srun's own.
SIZES = ("OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
# The same for those on this node.
LOCAL_SIZES = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
# This process's number among those on this node.
LOCAL_RANKS = ("OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")
ANONYMOUS = "PMIX_RANK"  # of a launcher that leaves the number to MPI
# The beginnings of the names of processes that start ranks; the kernel keeps 15 characters.
LAUNCHERS = ("hydra_pmi_proxy", "mpiexec", "mpirun", "prterun", "prted", "orted", "slurmstepd", "pmi_proxy")


class Announced(NamedTuple):
    """What a launcher announces.

    Attributes
    ----------
    variable : str
        Which says so.
    size : int or None
        Ranks; None if they are not counted there.
    here : int
        Ranks on this node, at least 1.
    place : int or None
        This rank's number among those, from 0; None if nobody says it.
    """

    variable: str
    size: int | None
    here: int
    place: int | None = None


def announced(environ: Mapping[str, str] | None = None) -> Announced | None:
    """What the launcher of this process announces, or None if none did.

    Parameters
    ----------
    environ : mapping, optional
        By default the process's own.
    """
    environ = os.environ if environ is None else environ
    for variable in SIZES:
        size = _number(environ.get(variable))
        if size is not None:
            return Announced(variable, size, _here(environ, size), _place(environ))
    if ANONYMOUS in environ:
        return Announced(ANONYMOUS, None, _here(environ, 1), _place(environ))
    return None


def node_cores(process: str | os.PathLike[str] = "/proc") -> int:
    """The cores that all ranks of this node may use together.

    SLURM says it. Elsewhere it is the affinity of the launcher's process on this node, which is not bound to single
    cores as the ranks that it starts may be; without a launcher, this process's own.

    Parameters
    ----------
    process : path-like
        Where the kernel's list of processes is mounted.
    """
    granted = _number(os.environ.get("SLURM_CPUS_ON_NODE"))
    if granted:
        return granted
    return len(os.sched_getaffinity(_launcher(pathlib.Path(process)) or 0))


def _launcher(process: pathlib.Path) -> int | None:
    """The process that started this rank, maybe through shells and other wrappers."""
    pid = os.getppid()
    while pid > 1:
        try:
            name = (process / str(pid) / "comm").read_text().strip()
            status = (process / str(pid) / "status").read_text()
        except OSError:
            return None
        if name.startswith(LAUNCHERS):
            return pid
        pid = int(re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE)[1])  # type: ignore[index]
    return None


def _here(environ: Mapping[str, str], size: int) -> int:
    for variable in LOCAL_SIZES:
        here = _number(environ.get(variable))
        if here:
            return here
    tasks = _tasks_of_node(environ)
    return size if tasks is None else tasks


def _place(environ: Mapping[str, str]) -> int | None:
    numbers = (_number(environ.get(variable)) for variable in LOCAL_RANKS)
    return next((number for number in numbers if number is not None), None)


def _tasks_of_node(environ: Mapping[str, str]) -> int | None:
    """Of SLURM's list of numbers of ranks, such as ``4(x2),3``, that of this node."""
    listed, node = environ.get("SLURM_STEP_TASKS_PER_NODE"), _number(environ.get("SLURM_NODEID"))
    if listed is None or node is None:
        return None
    counts: list[int] = []
    for entry in listed.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", entry.strip())
        if match is None:
            return None
        counts += [int(match[1])] * int(match[2] or 1)
    return counts[node] if node < len(counts) else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
