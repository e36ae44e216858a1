"""How many threads compute, and which library's pool they belong to.

`available()` respects CPU affinity and the cgroup's quota. `requested()` is what `--threads` says, or OMP_NUM_THREADS,
or all that are available; ranks that a launcher started on one node share its cores. `limit()` gives that many to
OpenMP and to the BLAS that Theano links, and one to every other BLAS in the process (numpy brings its own), so that
only one pool computes.

Examples
--------
>>> 1 <= available()
True
>>> requested(cli=3).count
3
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastvae.errors import ConfigurationError
from fastvae.parallel import launcher

MOST = 1024  # libraries crash if they are given absurd numbers of threads
CORES = "every core that affinity and cgroup quota leave"


@dataclass(frozen=True)
class Request:
    """The number of threads to compute with, who chose it, and how many cores this process may use."""

    count: int
    source: str
    available: int

    def __str__(self) -> str:
        threads = f"{self.count} thread" + "s" * (self.count > 1)
        if self.source == CORES:
            return f"{threads} ({self.source})"
        more = "more than the " if self.count > self.available else ""
        return f"{threads} ({self.source}; {more}{self.available} available)"


@dataclass(frozen=True)
class Pool:
    """A thread pool in this process: library, file, number of threads, and whether it serves "blas" or "openmp"."""

    library: str
    path: str
    threads: int
    api: str


def available(
    cgroup: str | os.PathLike[str] = "/sys/fs/cgroup", process: str | os.PathLike[str] = "/proc/self/cgroup"
) -> int:
    """How many cores this process may use: its CPU affinity or the cgroup's quota, rounded up, whichever is less.

    Parameters
    ----------
    cgroup, process : path-like
        Where the cgroup file systems are mounted, and the file that names this process's groups.

    Returns
    -------
    int
        At least 1.
    """
    return _within_quota(len(os.sched_getaffinity(0)), cgroup, process)


def _within_quota(
    cores: int,
    cgroup: str | os.PathLike[str] = "/sys/fs/cgroup",
    process: str | os.PathLike[str] = "/proc/self/cgroup",
) -> int:
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(pathlib.Path(cgroup), pathlib.Path(process)))]))


def _quotas(root: pathlib.Path, process: pathlib.Path) -> Iterator[float]:
    """Every CPU quota, in cores, from this process's cgroups (v1 and v2) up to their roots."""
    memberships = process.read_text().splitlines() if process.exists() else []
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts = [root, root / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / controllers, root / "cpu"]
        else:
            continue
        # Inside a container the path may be one of the host that does not exist here; then only the mount point counts.
        group = pathlib.PurePosixPath(path.lstrip("/"))
        for mount in mounts:
            for folder in (mount / group, *(mount / parent for parent in group.parents)):
                quota = _quota(folder)
                if quota is not None:
                    yield quota


def _quota(folder: pathlib.Path) -> float | None:
    v2, v1, period = (folder / name for name in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"))
    if v2.is_file():
        most, per = v2.read_text().split()
        return None if most == "max" else int(most) / int(per)
    if v1.is_file() and period.is_file():
        microseconds = int(v1.read_text())
        return None if microseconds <= 0 else microseconds / int(period.read_text())
    return None


def requested(cli: int | str | None = None, environ: Mapping[str, str] | None = None) -> Request:
    """The number of threads to compute with: `cli`, else OMP_NUM_THREADS, else all that are available.

    Of several ranks on one node (`fastvae.parallel`) each gets its share of the node's cores. The user may ask for more
    than are available; the text of the returned object then says so.

    Parameters
    ----------
    cli : int or str, optional
        The value of ``--threads``.
    environ : mapping, optional
        The environment; by default the process's own.

    Returns
    -------
    Request

    Raises
    ------
    ConfigurationError
        If it is not a whole number from 1 to 1,024.
    """
    environ = os.environ if environ is None else environ
    cores = available()
    if cli is not None:
        return Request(_count("--threads", cli, str(cli)), "--threads", cores)
    setting = environ.get("OMP_NUM_THREADS", "")
    if setting.strip():
        # OpenMP allows one number for each nesting level; the outermost one is ours.
        return Request(_count("OMP_NUM_THREADS", setting, setting.split(",")[0]), "OMP_NUM_THREADS", cores)
    ranks = launcher.announced(environ)
    if ranks is not None and ranks.here > 1:
        share = max(1, _within_quota(launcher.node_cores()) // ranks.here)
        return Request(min(cores, share), f"cores of this node divided by its {ranks.here} ranks", cores)
    return Request(cores, CORES, cores)


def _count(name: str, value: int | str, text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= MOST:
        raise ConfigurationError(f"{name}={value!r} is not a number of threads: give a whole number from 1 to {MOST}")
    return count


def limit(count: int, blas_path: str | os.PathLike[str] | None = None, backend: str = "stock") -> None:
    """Give `count` threads to the library that computes, and one to every other BLAS of the process.

    Call it after theano was imported, and again after loading a library that has a pool of its own.

    Parameters
    ----------
    count : int
    blas_path : path-like, optional
        The library that Theano links. Without one Theano computes products with numpy, whose pool then gets them.
    backend : str
        `Profile.backend`. With "cpu", OpenMP's threads compute all products of a step, and no BLAS has more than one.
    """
    import ctypes

    import threadpoolctl

    if blas_path is not None:
        # Theano loads it with its first compiled product; a pool can be limited only once it is there.
        ctypes.CDLL(str(blas_path))
    for library in threadpoolctl.ThreadpoolController().lib_controllers:
        computes = library.user_api != "blas" or (backend != "cpu" and _computes(library.filepath, blas_path))
        library.set_num_threads(count if computes else 1)


def _computes(path: str, blas_path: str | os.PathLike[str] | None) -> bool:
    if blas_path is None:
        return "scipy.libs" not in pathlib.Path(path).parts
    return os.path.realpath(path) == os.path.realpath(blas_path)


def pools() -> list[Pool]:
    """Every thread pool of this process, as it is now.

    Returns
    -------
    list of Pool
    """
    import threadpoolctl

    return [
        Pool(library.internal_api, library.filepath, library.num_threads, library.user_api)
        for library in threadpoolctl.ThreadpoolController().lib_controllers
    ]


def describe() -> str:
    """The pools on one line, those with most threads first.

    Returns
    -------
    str
    """
    ordered = sorted(pools(), key=lambda pool: -pool.threads)
    return "threads: " + ", ".join(f"{pool.threads} in {pool.library} ({pool.path})" for pool in ordered)
