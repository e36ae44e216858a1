"""A thread that notices when the ranks wait for one of them too long, and when the launcher is gone.

A rank that has waited for its time-out asks the others where they are. Who does not answer, or has not come to where
the others are, is named, and all ranks are ended. In a training that goes on, the thread only looks once a second.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

ASKED, ANSWERED, ENDED = 1, 2, 3  # tags of messages
EVERY = 0.5  # seconds between two looks
PATIENCE = 2.0  # seconds for answers
FAREWELL = 1.0  # seconds for an end in order once the launcher is gone, or asked to end all


class Watch:
    """The watch of one rank, until `close`.

    Parameters
    ----------
    module : module
        `mpi4py.MPI`.
    names : list of str
        What messages call each rank.
    abort : callable
        ``abort(line)`` says a line and ends all ranks.
    """

    def __init__(self, module: Any, names: list[str], abort: Callable[[str | None], None]) -> None:
        self._mpi, self._names, self._abort = module, names, abort
        self._comm = module.COMM_WORLD.Dup()
        self._may_ask = module.Query_thread() == module.THREAD_MULTIPLE
        self._timeout: float | None = None
        self._since: float | None = None  # when this rank began to wait, if it does
        self._count = 0  # how often it has waited
        self._parent = os.getppid()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastvae.parallel", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside the block this rank waits for the others."""
        self._count += 1
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    @contextlib.contextmanager
    def limited(self, timeout: float) -> Iterator[None]:
        """Inside the block, no rank is waited for longer than so many seconds."""
        self._timeout = timeout
        try:
            yield
        finally:
            self._timeout = None

    def tell_the_end(self) -> None:
        """Let the other ranks end at once: not every launcher is quick about it."""
        if self._may_ask:
            for rank in range(self._comm.size):
                if rank != self._comm.rank:
                    self._comm.isend(None, rank, ENDED)
        leaving = threading.Timer(FAREWELL, _kill)  # if the launcher does not
        leaving.daemon = True
        leaving.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(EVERY if self._timeout is None else min(EVERY, self._timeout / 4)):
            if os.getppid() != self._parent and not self._closed.wait(FAREWELL):
                _kill()
            if self._may_ask:
                if self._comm.Iprobe(self._mpi.ANY_SOURCE, ENDED):
                    _kill()
                self._answer()
            since, timeout = self._since, self._timeout
            if None not in (since, timeout) and time.monotonic() - since > timeout:  # type: ignore[operator]
                self._call(self._count, timeout)

    def _answer(self) -> None:
        status = self._mpi.Status()
        while self._comm.Iprobe(self._mpi.ANY_SOURCE, ASKED, status):
            self._comm.recv(source=status.source, tag=ASKED)
            self._comm.isend(self._place(), status.source, ANSWERED)

    def _place(self) -> int:
        """At which wait this rank is; negative if it has left that one and not come to the next."""
        return self._count if self._since is not None else -self._count

    def _call(self, count: int, timeout: float | None) -> None:
        """Ask where the others are, and end all ranks if this one still waits at that place."""
        places: dict[int, int] = {self._comm.rank: count}
        if self._may_ask:
            others = [rank for rank in range(self._comm.size) if rank != self._comm.rank]
            for rank in others:
                self._comm.isend(None, rank, ASKED)
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and len(places) < self._comm.size:
                self._answer()
                status = self._mpi.Status()
                while self._comm.Iprobe(self._mpi.ANY_SOURCE, ANSWERED, status):
                    places[status.source] = self._comm.recv(source=status.source, tag=ANSWERED)
                time.sleep(0.01)
        if self._place() != count:
            return
        here = [rank for rank, place in places.items() if place == count]
        missing = [name for rank, name in enumerate(self._names) if rank not in here]
        if min(here) != self._comm.rank:  # that one says it
            time.sleep(PATIENCE)
        self._abort(_verdict(missing if self._may_ask else [], timeout))


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _verdict(missing: list[str], timeout: float | None) -> str:
    who = f"{', '.join(missing)} {'has' if len(missing) == 1 else 'have'}" if missing else "a rank has"
    return (
        f"{who} not come to where the others wait within {timeout:g} s, and all are ended: look what it does there, "
        "or give a longer rank_timeout; a run with checkpoints goes on from the last one"
    )
