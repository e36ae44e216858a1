"""What launchers leave in the environment, as they were seen to or document it."""

import os

import pytest

from fastvae.devices import threads
from fastvae.parallel import launcher
from fastvae.parallel.launcher import Announced, announced

HYDRA = {"PMI_FD": "9", "PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"}
PRTE = {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_LOCAL_SIZE": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
PRTE["PMIX_RANK"] = "0"
SRUN = {"SLURM_NTASKS": "9", "SLURM_STEP_NUM_TASKS": "7", "SLURM_STEP_TASKS_PER_NODE": "2(x3),1", "SLURM_NODEID": "3"}


@pytest.mark.parametrize(
    "environ, found",
    [
        ({}, None),
        (HYDRA, Announced("PMI_SIZE", 4, 2, 1)),
        (PRTE, Announced("OMPI_COMM_WORLD_SIZE", 3, 3, 0)),
        (SRUN, Announced("SLURM_STEP_NUM_TASKS", 7, 1)),
        ({**SRUN, "SLURM_NODEID": "1", "SLURM_LOCALID": "1"}, Announced("SLURM_STEP_NUM_TASKS", 7, 2, 1)),
        ({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "odd"}, Announced("SLURM_STEP_NUM_TASKS", 7, 7)),
        ({**SRUN, **PRTE}, Announced("OMPI_COMM_WORLD_SIZE", 3, 3, 0)),  # mpirun within an allocation
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # a batch script itself
        ({"PMIX_RANK": "0"}, Announced("PMIX_RANK", None, 1)),
        ({"PMI_SIZE": "many"}, None),
    ],
)
def test_launchers(environ, found):
    assert announced(environ) == found


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """A list of processes in which this one has ancestors of these names, the nearest first."""
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)

    def write(*names):
        pids = [os.getppid(), *range(10**9, 10**9 + len(names))]
        for pid, parent, name in zip(pids, pids[1:], names):
            (tmp_path / str(pid)).mkdir()
            (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
            (tmp_path / str(pid) / "status").write_text(f"Name:\t{name}\nPPid:\t{parent}\n")
        return tmp_path, pids

    return write


@pytest.mark.parametrize(
    "names, place", [(["hydra_pmi_proxy", "mpiexec.hydra"], 0), (["sh", "prterun"], 1), (["bash", "sshd"], None)]
)
def test_cores_are_those_of_the_launcher_on_this_node(processes, monkeypatch, names, place):
    process, pids = processes(*names)
    asked = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: asked.append(pid) or set(range(12)))
    assert launcher.node_cores(process) == 12
    assert asked == [0 if place is None else pids[place]]


def test_slurm_says_how_many_cores_it_grants(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "24")
    assert launcher.node_cores() == 24


@pytest.mark.parametrize(
    "own, node, ranks, count", [(16, 16, 4, 4), (4, 16, 4, 4), (16, 16, 1, 16), (2, 2, 4, 1), (16, 16, 5, 3)]
)
def test_ranks_share_the_cores_of_their_node(monkeypatch, own, node, ranks, count):
    monkeypatch.setattr(threads, "available", lambda: own)
    monkeypatch.setattr(launcher, "node_cores", lambda: node)
    request = threads.requested(environ={"PMI_SIZE": "64", "MPI_LOCALNRANKS": str(ranks)})
    assert request.count == count and (ranks == 1 or f"divided by its {ranks} ranks" in str(request))


def test_what_the_user_asks_for_is_not_divided(monkeypatch):
    assert threads.requested(environ={**HYDRA, "OMP_NUM_THREADS": "3"}).count == 3
    assert threads.requested(cli=5, environ=HYDRA).count == 5
