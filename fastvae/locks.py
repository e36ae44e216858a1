"""Locks: one process at a time writes to a run folder or a history.

A lock is `flock` on a file beside what it guards, `history.csv.lock`, in which its holder is written. The kernel
releases it when the process dies; a forked child does not hold it. It holds between machines where the file system says
so (NFS from version 4 on); where a file system has no locks, one line says so.

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

import contextlib
import datetime
import errno
import fcntl
import os
import socket
import stat
import sys
import weakref

from fastvae.errors import ConfigurationError

SUFFIX = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}  # EBADF: of some NFS servers
_held = weakref.WeakSet()


class Lock:
    """The right to write to `path`, from now on until `release`, the end of a `with` block or of the process.

    Parameters
    ----------
    path : str or path-like
        What is guarded; it need not exist, its folder must.
    what : str
        How an error message calls it.

    Raises
    ------
    ConfigurationError
        If another holds it, a thread of this process included; the message names its process, machine and time.
    OSError
        If the lock's file cannot be made.
    """

    def __init__(self, path, what):
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
            self._forget()  # the one that held it has removed it meanwhile
        now = datetime.datetime.now(datetime.timezone.utc)
        holder = f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M:%S} UTC"
        with contextlib.suppress(OSError):  # a disk without room for a line; the lock holds
            os.ftruncate(descriptor, 0)
            os.write(descriptor, holder.encode())

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.release()

    def _forget(self):
        """Let go of the file without a change to it or to who holds it."""
        if self.release.detach():
            os.close(self._descriptor)

    def _say_there_is_none(self, error):
        kind = _file_system(self.path)
        print(
            f"fastvae: {os.path.dirname(self.path)}: its file system{kind} has no locks ({error.strerror}), so nothing "
            "keeps two processes from writing there: see to it yourself",
            file=sys.stderr,
        )


def own(descriptor):
    """Lock a new file until it is closed; tell whether it still has its name."""
    with contextlib.suppress(OSError):  # without locks nobody removes it
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return os.fstat(descriptor).st_nlink > 0


def remove_unowned(path):
    """Remove a regular file unless somebody has locked it, or it cannot be known."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone, of another user, or no file
        return
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                os.unlink(path)
    except OSError:  # locked, without locks, or not to be removed
        pass
    finally:
        os.close(descriptor)


def _release(descriptor, path):
    if _is_at(descriptor, path):
        with contextlib.suppress(OSError):  # its folder has become read-only: it is unlocked all the same
            os.unlink(path)
    os.close(descriptor)


def _is_at(descriptor, path):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:  # it is gone, or its folder
        return False


def _text(descriptor):
    """Who holds the lock, in at most a line; empty in the moment before that is written."""
    text = os.pread(descriptor, 200, 0).decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _file_system(path):
    """The kind of the file system of a path, " (nfs4)", where Linux tells."""
    mounts = []
    with contextlib.suppress(OSError), open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        mounts = [line.split()[1:3] for line in file]
    there = [(len(place), kind) for place, kind in mounts if os.path.commonpath([place, path]) == place]
    return f" ({max(there)[1]})" if there else ""


def _leave_to_the_parent():
    for lock in list(_held):
        lock._forget()


os.register_at_fork(after_in_child=_leave_to_the_parent)
