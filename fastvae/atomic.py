"""Files that are replaced whole: after a crash, a kill or a full disk there is the old file or the new, never a part.

What a killed process leaves is a draft, `NAME.PID.NUMBER.part` beside the file; the next that writes the file removes
it. A living process holds a lock on its draft, which the kernel releases with the process.

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

import contextlib
import errno
import fnmatch
import itertools
import os
import re
import stat

from fastvae import locks

DRAFT = ".part"  # what the name of an unfinished file ends in
_IS_DRAFT = re.compile(r"(.+?)\.\d+(\.\d+)?" + re.escape(DRAFT))  # older versions gave no NUMBER
_numbers = itertools.count()
KINDS = {
    stat.S_IFCHR: "a character device", stat.S_IFBLK: "a block device", stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}  # fmt: skip


@contextlib.contextmanager
def replacing(path):
    """A binary file to write, synced to the disk and renamed to `path` when the block ends without an error.

    A link stays one: the file to which it leads is replaced. The new file has the mode of the old one, and its owner
    where this process may give it away; where there was none, it has what the umask leaves.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    OSError
        If it cannot be written, or is a device, a FIFO, a socket or a folder; the draft is then removed and an older
        file is as it was.
    """
    path, before = _examined(path)
    sweep(os.path.dirname(path), os.path.basename(path))
    draft, file = _draft(path)
    try:
        with file:
            if before is not None:
                _take_over(file.fileno(), before)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(draft)
        raise
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, survives a power failure
    finally:
        os.close(folder)


def target(path):
    """The absolute path of the regular file, there or not, that `replacing(path)` replaces; OSError if it is none."""
    return _examined(path)[0]


def sweep(folder, pattern="*"):
    """Remove the drafts of files whose names fit the pattern, but for those that a living process writes.

    On a file system without locks nobody can tell, and all are left.
    """
    with os.scandir(folder or os.curdir) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(DRAFT)]
    for name in names:
        match = _IS_DRAFT.fullmatch(name)
        if match and (match[1] == pattern or fnmatch.fnmatchcase(match[1], pattern)):
            locks.remove_unowned(os.path.join(folder, name))


def _examined(path):
    """The path with links resolved, and the status of the regular file there, if there is one."""
    path = os.path.realpath(path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return path, None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "no regular file")
        raise OSError(errno.EINVAL, f"it is {kind}, only a regular file is replaced", path)
    return path, found


def _draft(path):
    """The name and the file of a new draft, which this process owns until it closes it."""
    while True:
        draft = f"{path}.{os.getpid()}.{next(_numbers)}{DRAFT}"
        try:
            file = open(draft, "xb")
        except FileExistsError:  # of a process of the same number, dead or in another container
            continue
        if locks.own(file.fileno()):
            return draft, file
        file.close()  # a sweep came between the two


def _take_over(descriptor, before):
    """Give a new file the owner and the mode of an old one; the mode last, which a change of the owner reduces."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
