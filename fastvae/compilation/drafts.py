"""Folders for what compilers write, inside theano's compile folder but ignored by theano.

A folder belongs to the process that made it, by a lock that the kernel releases when the process ends. The next process
that compiles removes the folders of killed ones. A finished file is renamed to its place, on the same file system.

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

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator

PREFIX = "fastvae_drafts_"  # not `tmp`, with which theano's own folders begin
OWNER = "owner"


@contextlib.contextmanager
def drafts(home: str) -> Iterator[str]:
    """A new folder in `home`, removed at the end of the block. First, what dead processes left in `home` is removed.

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
    is_owned = False
    while not is_owned:
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=home)
        try:
            owner = open(os.path.join(folder, OWNER), "xb")
        except FileNotFoundError:  # theano removes empty folders
            continue
        try:
            with owner:
                with contextlib.suppress(OSError):  # a file system without locks, where nobody else removes it
                    fcntl.flock(owner, fcntl.LOCK_EX)
                is_owned = os.path.exists(owner.name)  # unless another process locked it first, and removed it
                if is_owned:
                    yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_unowned(folder: str) -> None:
    with contextlib.suppress(OSError):  # locked, gone, another user's, or without locks
        with open(os.path.join(folder, OWNER), "r+b") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
