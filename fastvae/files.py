"""Open files for reading, but only regular ones: a FIFO would wait for its writer, and a device may never end.

Examples
--------
>>> import os, tempfile
>>> folder = tempfile.mkdtemp()
>>> os.mkfifo(os.path.join(folder, "fifo"))
>>> open_regular(os.path.join(folder, "fifo"))
Traceback (most recent call last):
    ...
OSError: [Errno 22] a FIFO, not a regular file: ...
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    file object

    Raises
    ------
    OSError
        If it cannot be opened, or is not a regular file; neither case waits for the file.
    """
    check_regular(path)  # before it is opened, because opening a device can have side effects
    file = open(path, "rb", opener=_without_waiting)
    try:
        _check_kind(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise OSError unless the path is a regular file or a folder; for libraries that open it themselves."""
    _check_kind(os.stat(path).st_mode, path)


def _check_kind(mode: int, path: str | os.PathLike[str]) -> None:
    kind = KINDS.get(stat.S_IFMT(mode))
    if kind is not None:
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", os.fspath(path))


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
