"""Open files for reading, regular ones only: a FIFO would wait for its writer, a device may never end.

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

import errno
import os
import stat

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path):
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
        If it cannot be opened, or is of another kind; that is found out without waiting for it.
    """
    check_regular(path)  # before it is opened: to open a device can have effects
    file = open(path, "rb", opener=_without_waiting)
    try:
        _check_kind(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def check_regular(path):
    """Raise OSError unless the path is a regular file or a folder, for a library that opens it itself."""
    _check_kind(os.stat(path).st_mode, path)


def _check_kind(mode, path):
    kind = KINDS.get(stat.S_IFMT(mode))
    if kind is not None:
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", os.fspath(path))


def _without_waiting(path, flags):
    return os.open(path, flags | os.O_NONBLOCK)
