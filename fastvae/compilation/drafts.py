"""Folders for what compilers write, within theano's compile folder, where theano does not look.

A folder belongs to the process that made it, by a lock that the kernel releases with the process; the next process that
compiles removes what killed ones left. A finished file is renamed to its place, on the same file system.

Examples
--------
>>> import tempfile
>>> home = tempfile.mkdtemp()
>>> with drafts(home) as folder:
...     os.listdir(home) == [os.path.basename(folder)]
True
>>> os.listdir(home)
[]
"""

import contextlib
import fcntl
import os
import shutil
import tempfile

PREFIX = "fastvae_drafts_"  # theano takes a name that begins with `tmp` for one of its own
OWNER = "owner"


@contextlib.contextmanager
def drafts(home):
    """A new folder in the folder `home`, removed at the end of the block; what dead processes left there goes first.

    Parameters
    ----------
    home : str
        `theano.config.compiledir`.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    for name in os.listdir(home):
        if name.startswith(PREFIX):
            _remove_unowned(os.path.join(home, name))
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=home)
    try:
        with open(os.path.join(folder, OWNER), "xb") as owner:
            with contextlib.suppress(OSError):  # a file system without locks: nobody removes it but this process
                fcntl.flock(owner, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unowned(folder):
    with contextlib.suppress(OSError):  # locked, gone meanwhile, of another user, or on a file system without locks
        with open(os.path.join(folder, OWNER), "r+b") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
