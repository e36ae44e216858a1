"""Files that are replaced as a whole: a crash, a kill or a full disk leaves the old file or the new one, never a part.

A killed process leaves a draft, `NAME.PID.NUMBER.part`, beside the file; the next process that writes the file removes
it. A living process holds a lock on its draft, which the kernel releases when the process ends.

Examples
--------
>>> import tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "a.txt")
>>> with replacing(path) as file:
...     _ = file.write(b"whole")
>>> import pathlib
>>> pathlib.Path(path).read_bytes(), os.listdir(os.path.dirname(path))
(b'whole', ['a.txt'])
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import itertools
import os
import re
import stat
from collections.abc import Iterator
from typing import BinaryIO

from fastvae import locks
from fastvae.files import KINDS

DRAFT = ".part"  # the ending of an unfinished file's name
_IS_DRAFT = re.compile(r"(.+?)\.\d+(\.\d+)?" + re.escape(DRAFT))  # older versions wrote no NUMBER
_numbers = itertools.count()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write to, which is synced to the disk and renamed to `path` if the block ends without an error.

    If `path` is a link, the file that it points to is replaced. The new file keeps the mode of the old one, and its
    owner if this process may set that; a file that is entirely new has the mode that the umask leaves.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    OSError
        If it cannot be written, or is a device, a FIFO, a socket or a folder; the draft is then removed, and the old
        file is unchanged.
    """
    where, before = _examined(path)
    sweep(os.path.dirname(where), os.path.basename(where))
    draft, file = _draft(where)
    try:
        with file:
            if before is not None:
                _take_over(file.fileno(), before)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(draft, where)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(draft)
        raise
    folder = os.open(os.path.dirname(where), os.O_RDONLY)
    try:
        os.fsync(folder)  # so that the new name survives a power failure too
    finally:
        os.close(folder)


def target(path: str | os.PathLike[str]) -> str:
    """The absolute path that `replacing(path)` writes, links resolved; OSError if what is there is not a file."""
    return _examined(path)[0]


def sweep(folder: str | os.PathLike[str], pattern: str = "*") -> None:
    """Remove the drafts of files whose names match the pattern, except those that a living process is writing.

    On a file system without locks the two cannot be told apart, and all drafts are left.
    """
    with os.scandir(folder or os.curdir) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(DRAFT)]
    for name in names:
        match = _IS_DRAFT.fullmatch(name)
        if match and (match[1] == pattern or fnmatch.fnmatchcase(match[1], pattern)):
            locks.remove_unowned(os.path.join(folder, name))


def _examined(path: str | os.PathLike[str]) -> tuple[str, os.stat_result | None]:
    """The path with links resolved, and the status of the regular file there, None if there is none."""
    path = os.path.realpath(path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return path, None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "not a regular file")
        raise OSError(errno.EINVAL, f"it is {kind}, and only a regular file can be replaced", path)
    return path, found


def _draft(path: str) -> tuple[str, BinaryIO]:
    """The name and the file of a new draft, which is locked until it is closed."""
    while True:
        draft = f"{path}.{os.getpid()}.{next(_numbers)}{DRAFT}"
        try:
            file = open(draft, "xb")
        except FileExistsError:  # left by a process with this number, dead or in another container
            continue
        if locks.own(file.fileno()):
            return draft, file
        file.close()  # another process swept it away before it was locked


def _take_over(descriptor: int, before: os.stat_result) -> None:
    """Give a new file the owner and the mode of an old one; the mode last, because changing the owner reduces it."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
