"""Locks: one process at a time writes to a run folder or a history.

A lock is `flock` on a file beside the one that it guards, such as `history.csv.lock`, which names the holder. The
kernel releases it when the process dies; a forked child does not hold it. It also works between machines if the file
system supports that (NFS from version 4 on). On a file system without locks a warning of one line is printed.

Examples
--------
>>> import tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "history.csv")
>>> with Lock(path, "the history"):
...     with Lock(path, "the history"):  # doctest: +ELLIPSIS
...         pass
Traceback (most recent call last):
fastvae.errors.ConfigurationError: the history is in use by process ...
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import socket
import stat
import weakref
from typing import Any

from fastvae.errors import ConfigurationError
from fastvae.messages import LOGGER

SUFFIX = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}  # EBADF: from some NFS servers
_held: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """The exclusive right to write to `path` until `release()`, the end of a `with` block, or the end of the process.

    Parameters
    ----------
    path : str or path-like
        What is guarded; it need not exist, but its folder must.
    what : str
        What error messages call it.

    Raises
    ------
    ConfigurationError
        If somebody else holds it, be it another thread of this process; the message names process, machine and time.
    OSError
        If the lock file cannot be created.
    """

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        self.path = os.path.abspath(path) + SUFFIX
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
            self._descriptor = descriptor
            self.release = weakref.finalize(self, _release, descriptor, self.path)
            _held.add(self)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in NO_LOCKS:
                    self._say_there_is_none(error)
                    return
                holder = _text(descriptor)
                self._forget()
                if not isinstance(error, BlockingIOError):
                    raise
                raise ConfigurationError(
                    f"{what} is in use by {holder or 'another process'}: wait until that has ended, or give another"
                ) from error
            if _is_at(descriptor, self.path):
                break
            self._forget()  # its holder has released and removed it in the meantime
        now = datetime.datetime.now(datetime.timezone.utc)
        holder = f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M:%S} UTC"
        with contextlib.suppress(OSError):  # the disk has no room for the line; the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.write(descriptor, holder.encode())

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _forget(self) -> None:
        """Close the file and change nothing: neither the file nor who holds the lock."""
        if self.release.detach():
            os.close(self._descriptor)

    def _say_there_is_none(self, error: OSError) -> None:
        kind = _file_system(self.path)
        LOGGER.warning(
            f"fastvae: {os.path.dirname(self.path)}: its file system{kind} has no locks ({error.strerror}), so nothing "
            "keeps two processes from writing there: make sure that only one does"
        )


def own(descriptor: int) -> bool:
    """Lock a new file until it is closed; return whether it still has its name, that is, was not removed meanwhile."""
    with contextlib.suppress(OSError):  # where there are no locks, nobody removes it
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return os.fstat(descriptor).st_nlink > 0


def remove_unowned(path: str | os.PathLike[str]) -> None:
    """Remove a regular file unless somebody has locked it, or locks do not work there."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # it is gone, another user's, or not a file
        return
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                os.unlink(path)
    except OSError:  # it is locked, cannot be locked, or cannot be removed
        pass
    finally:
        os.close(descriptor)


def _release(descriptor: int, path: str) -> None:
    if _is_at(descriptor, path):
        with contextlib.suppress(OSError):  # its folder has become read-only; closing the file unlocks it all the same
            os.unlink(path)
    os.close(descriptor)


def _is_at(descriptor: int, path: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:  # the file or its folder is gone
        return False


def _text(descriptor: int) -> str:
    """Who holds the lock, in one line; empty for the moment until the holder has written it."""
    text = os.pread(descriptor, 200, 0).decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _file_system(path: str) -> str:
    """The kind of the file system that a path is on, such as " (nfs4)"; empty if Linux does not say."""
    mounts: list[Any] = []
    with contextlib.suppress(OSError), open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        mounts = [line.split()[1:3] for line in file]
    there = [(len(place), kind) for place, kind in mounts if os.path.commonpath([place, path]) == place]
    return f" ({max(there)[1]})" if there else ""


def _leave_to_the_parent() -> None:
    for lock in list(_held):
        lock._forget()


os.register_at_fork(after_in_child=_leave_to_the_parent)
