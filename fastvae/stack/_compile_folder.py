"""Theano's compile folder: one that others can write to is refused, and a full or read-only one is a one-line error.

Theano unpickles and loads what it finds there, so whoever can write to it can run code as this user.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import grp
import os
import platform
import pwd
import stat
import tempfile
from collections.abc import Callable, Iterator

from fastvae.errors import StackError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR}
LITTLE = 2**24  # bytes; if less is free, that is why a compiler failed
PROBE = b"\0" * 2**12
ELSEWHERE = "set THEANO_FLAGS=base_compiledir=FOLDER to a writable folder of your own"


def check_owner(base: str, compiledir: str | None = None) -> None:
    """Raise StackError if anybody but this user and root can write to the compile folder or replace it.

    Parameters
    ----------
    base : str
        `base_compiledir`, in which theano makes a folder for each platform and Python.
    compiledir : str, optional
        That folder, if it is known; by default all existing ones of this Python.

    Notes
    -----
    A folder to which its group can write is accepted if the group is private to the owner, that is, has the owner's
    name and no other members. Many systems make such a group for each user, with a umask of 002. Of the folders above,
    one to which everybody can write is accepted only if it is sticky, as /tmp is: there nobody can replace another's
    files.
    """
    base = os.path.realpath(os.path.expanduser(base))
    if compiledir is None:
        folders = glob.glob(os.path.join(glob.escape(base), f"compiledir_*-{platform.python_version()}-*"))
    else:
        folders = [os.path.realpath(os.path.expanduser(compiledir))]
    for folder in [base, *folders]:
        _refuse(folder, folder, _open_to)
        above = os.path.dirname(folder)
        while above != os.path.dirname(above):
            _refuse(folder, above, _open_to_all)
            above = os.path.dirname(above)


def _refuse(compile_folder: str, folder: str, reason: Callable[[os.stat_result], str | None]) -> None:
    try:
        found = os.stat(folder)
    except FileNotFoundError:  # theano will make it, for this user alone
        return
    why = reason(found)
    if why:
        remedy = f"chmod {'+t' if reason is _open_to_all else 'go-w'} {folder}"
        remedy = f"{remedy}, or {ELSEWHERE}" if found.st_uid == os.geteuid() else ELSEWHERE
        raise StackError(
            f"the compile folder {compile_folder!r} is refused, since theano unpickles what is in it: {folder!r} "
            f"{why}: {remedy}"
        )


def _open_to_all(found: os.stat_result) -> str | None:
    """Why everybody can replace what is in a folder; None if not everybody can."""
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return "can be written by everybody"
    return None


def _open_to(found: os.stat_result) -> str | None:
    """Why others can put something into a folder; None if they cannot, or if the folder is like /tmp."""
    if found.st_uid not in (os.geteuid(), 0):
        return f"belongs to {_user(found.st_uid)}"
    if found.st_mode & stat.S_ISVTX and found.st_uid == 0:
        return None
    if found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid, found.st_uid):
        return f"can be written by the group {_group(found.st_gid)}"
    return "can be written by everybody" if found.st_mode & stat.S_IWOTH else None


def _is_private(gid: int, uid: int) -> bool:
    """Whether a group is root's or private to a user: the primary group, of the same name, without other members."""
    if gid == 0:
        return True
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:  # in a container whose users and groups have no names
        return gid == os.getegid()
    return gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Make what is created in the block accessible to this user alone. Keep it short: the umask is the process's."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def check_room(folder: str) -> None:
    """Raise StackError if nothing can be written to a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="fastvae_") as file:
            file.write(PROBE)
    except OSError as error:
        raise _refusal([folder], error.strerror) from error


@contextlib.contextmanager
def failures_in_one_line(folder: Callable[[], str]) -> Iterator[None]:
    """Turn what theano, g++ and Python raise in the block, if a folder is full or read-only, into a StackError.

    Parameters
    ----------
    folder : callable
        Returns the compile folder.
    """
    try:
        yield
    except StackError:
        raise
    except Exception as error:  # theano raises a plain Exception with the compiler's message
        compiled = isinstance(error, OSError) or "Compilation failed" in str(error)
        known = not isinstance(error, OSError) or error.errno in NO_ROOM
        folders = list(dict.fromkeys([folder(), _temporary()]))
        bad = [place for place in folders if not _has_room(place)] if compiled and known else []
        if isinstance(error, OSError) and known and not bad and _below(error.filename, folders):
            bad = [os.path.dirname(os.fspath(error.filename))]
        if not bad:
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no room for what is compiled"
        raise _refusal(bad, reason) from error


def _refusal(folders: list[str], reason: str | None) -> StackError:
    names = " and ".join(map(repr, folders))
    temporary = _temporary() in folders
    where = "set TMPDIR to another folder" if temporary else ELSEWHERE
    return StackError(f"theano cannot compile in {names} ({reason}): make room there or make it writable, or {where}")


def _temporary() -> str:
    """The compiler's folder for temporary files. (Python's own choice would be another one if this has no room.)"""
    given = (os.environ.get(name) for name in ("TMPDIR", "TMP", "TEMP"))
    return next((folder for folder in given if folder and os.path.isdir(folder)), "/tmp")


def _has_room(folder: str) -> bool:
    try:
        space = os.statvfs(folder)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK) and space.f_bavail * space.f_frsize >= LITTLE and space.f_favail != 0


def _below(path: object, folders: list[str]) -> bool:
    return isinstance(path, (str, os.PathLike)) and any(os.fspath(path).startswith(place) for place in folders)
