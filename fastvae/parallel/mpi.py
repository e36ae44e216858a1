"""Ranks on MPI, through mpi4py: what they agree on, and how they end together.

An error on some ranks while the others train would leave these waiting for ever. So a rank that fails looks for a
second whether all others fail too, as they do for a wrong argument: then each raises its own error, which a program may
catch. Otherwise it says what happened and ends all of them by `MPI_Abort`.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import pickle
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from fastvae import kinds
from fastvae.errors import ConfigurationError, FastvaeError
from fastvae.messages import LOGGER
from fastvae.parallel import launcher
from fastvae.parallel.ranks import ALONE, Ranks
from fastvae.parallel.watch import Watch

T = TypeVar("T")

SMALL = 2**16  # elements up to which arrays share a message
PIECE = 2**22  # elements of a larger array in one message: more take longer, since they do not stay in a cache
FAILING = 1.0  # seconds in which the other ranks have to fail too
LONGEST_NAP = 0.02  # seconds between two looks whether the others have come
INSTALL = "pip install 'fastvae[mpi]', or pip install mpi4py where the machine has an MPI of its own"

_ranks: Ranks | None = None


def ranks() -> Ranks:
    """The ranks of this program; MPI is initialised at the first call, unless the program has done that.

    Raises
    ------
    ConfigurationError
        If there is no MPI, or it has fewer ranks than the launcher announces.
    """
    global _ranks
    if _ranks is None:
        module = _module()
        _check_launcher(module)
        _ranks = MpiRanks(module) if module.COMM_WORLD.size > 1 else ALONE
    return _ranks


def _module() -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ConfigurationError(f"parallel: mpi4py cannot be imported ({_line(error)}): {INSTALL}") from error
    except RuntimeError as error:  # mpi4py's own, of several lines
        raise ConfigurationError(f"parallel: mpi4py finds no MPI library ({_line(error)}): {INSTALL}") from error
    return MPI


def _check_launcher(module: Any) -> None:
    announced = launcher.announced()
    size = module.COMM_WORLD.size
    if announced is None or announced.size is None or announced.size <= size:
        return
    library = " ".join(module.Get_library_version().replace("Version:", "").split()[:2]).rstrip(",\0")
    raise ConfigurationError(
        f"parallel: the launcher announces {announced.size} ranks ({announced.variable}={announced.size}), but the MPI "
        f"library that mpi4py loads, {library}, has {size}: they are of different MPIs, and each rank would train "
        "alone; start with the mpiexec of that library (with srun: a plugin that it knows, see srun --mpi=list)"
    )


class MpiRanks(Ranks):
    """The processes of `MPI.COMM_WORLD`, two at least.

    Parameters
    ----------
    module : module
        `mpi4py.MPI`, initialised.
    """

    def __init__(self, module: Any) -> None:
        self._mpi = module
        self._comm = module.COMM_WORLD.Dup()
        self._failures = module.COMM_WORLD.Dup()  # where ranks that fail meet
        self.rank, self.size = self._comm.rank, self._comm.size
        self._agreed: BaseException | None = None  # the last error that every rank has had
        self._packed = np.empty(0, np.float32)
        self._one = np.zeros(1, np.float32)
        names = self._comm.allgather(f"rank {self.rank} (process {os.getpid()} on {platform.node()})")
        self._watch = Watch(module, names, self._abort)
        atexit.register(self._close)
        if self.rank:  # what all would say, the first one says
            LOGGER.setLevel(max(LOGGER.level, logging.WARNING))
        self._hook = sys.excepthook
        sys.excepthook = self._uncaught

    # What they agree on.

    def meet(self) -> None:
        with self._watch.waiting():
            _nap(self._comm.Ibarrier())

    def from_first(self, value: T) -> T:
        self.meet()
        return self._comm.bcast(value if self.is_first else None)

    def on_first(self, function: Callable[[], T]) -> T:
        value, error = None, None
        if self.is_first:
            try:
                value = function()
            except Exception as raised:
                error = _sendable(raised)
        value, error = self.from_first((value, error))
        if error is not None:
            raise self._of_all(error)
        return value  # type: ignore[return-value]

    def everyone(self, value: T) -> list[T]:
        self.meet()
        return self._comm.allgather(value)

    def to_first(self, value: T) -> list[T]:
        self.meet()
        return self._comm.gather(value) or []

    def any(self, wish: bool) -> bool:
        self._one[0] = wish
        with self._watch.waiting():
            self._comm.Allreduce(self._mpi.IN_PLACE, self._one)
        return bool(self._one[0])

    def average(self, values: Sequence[np.ndarray], out: Sequence[np.ndarray]) -> None:
        small = [i for i, value in enumerate(values) if value.size <= SMALL and value.dtype == np.float32]
        with self._watch.waiting():
            self._average_small([values[i] for i in small], [out[i] for i in small])
            for i in sorted({*range(len(values))}.difference(small)):
                self._average_large(values[i], out[i])

    def _average_small(self, values: list[np.ndarray], out: list[np.ndarray]) -> None:
        """In one message, with the wish to end before them."""
        size = 1 + sum(value.size for value in values)
        if self._packed.size != size:
            self._packed = np.empty(size, np.float32)
        packed, place = self._packed, 1
        packed[0] = self.wish
        for value in values:
            packed[place : place + value.size] = value.ravel()
            place += value.size
        self._comm.Allreduce(self._mpi.IN_PLACE, packed)
        self.stopping = bool(packed[0])
        packed *= np.float32(1 / self.size)
        place = 1
        for target in out:
            target[...] = packed[place : place + target.size].reshape(target.shape)
            place += target.size

    def _average_large(self, value: np.ndarray, out: np.ndarray) -> None:
        """In its own memory where that is in one piece, in the order of its elements as every rank has it."""
        whole = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
        if whole is not value:
            whole[...] = value
        elements, share = whole.reshape(-1), whole.dtype.type(1 / self.size)
        for start in range(0, elements.size, PIECE):
            piece = elements[start : start + PIECE]
            self._comm.Allreduce(self._mpi.IN_PLACE, piece)
            piece *= share
        if whole is not out:
            out[...] = whole

    def check_alike(self, described: dict[str, Any]) -> None:
        first, *others = self.everyone(described)
        for rank, other in enumerate(others, start=1):
            for name in {**first, **other}:
                if first.get(name) != other.get(name):
                    raise self._of_all(
                        ConfigurationError(
                            f"parallel: rank {rank} has {name}={kinds.shown(other.get(name))}, rank 0 has "
                            f"{kinds.shown(first.get(name))}: start all ranks with the same script, arguments, data "
                            "and versions"
                        )
                    )

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        if not self.is_first:
            self.meet()
        yield
        if self.is_first:
            self.meet()

    # How they end.

    @contextlib.contextmanager
    def watched(self, timeout: float) -> Iterator[None]:
        self.wish = self.stopping = False
        with self._watch.limited(timeout):
            yield

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """Return if every rank fails; end all if not."""
        if error is self._agreed:
            return
        if self._all_fail(error):
            return
        if not isinstance(error, FastvaeError):
            traceback.print_exception(type(error), error, error.__traceback__)
        self._abort(f"rank {self.rank} of {self.size} failed, and all are ended: {_line(error)}")

    def _of_all(self, error: Exception) -> Exception:
        """An error that every rank raises now."""
        self._agreed = error
        error.is_repeated = self.rank > 0  # type: ignore[attr-defined]
        return error

    def _all_fail(self, error: BaseException) -> bool:
        """Whether every rank fails now; an error that the first one has too is marked as repeated."""
        if not _nap(self._failures.Ibarrier(), FAILING):
            return False
        self._agreed = error
        first = self._failures.bcast(_line(error))
        error.is_repeated = self.rank > 0 and first == _line(error)  # type: ignore[attr-defined]
        return True

    def _abort(self, line: str | None = None) -> None:
        if line is not None:
            print(f"fastvae: {line}", file=sys.stderr)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        self._watch.tell_the_end()
        self._comm.Abort(1)

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        """An error that ends this program, maybe alone."""
        alone = error is not self._agreed and not self._all_fail(error)
        if not getattr(error, "is_repeated", False):
            self._hook(kind, error, trace)
        if alone:
            self._abort(f"rank {self.rank} of {self.size} failed, and all are ended: {_line(error)}")

    def _close(self) -> None:
        """Before MPI is finalised: the first rank may have work left, and the others then wait without a core."""
        if not self._mpi.Is_finalized():
            _nap(self._comm.Ibarrier())
        self._watch.close()


def _nap(request: Any, longest: float | None = None) -> bool:
    """Wait for a request, asleep most of the time; whether it was done in so many seconds."""
    pause, end = 1e-5, None if longest is None else time.monotonic() + longest
    while not request.Test():
        if end is not None and time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_NAP)
    return True


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # its class wants other arguments than it keeps
        return RuntimeError(_line(error))
    return error


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
