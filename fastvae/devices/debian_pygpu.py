"""Let a virtual environment import Debian's pygpu, which no package index carries.

`apt-get install python3-pygpu` puts pygpu where only Debian's own interpreter looks. `install()` adds a finder to the
import system that knows three names, pygpu and the two that it needs beyond this package's own dependencies, so that
nothing else of Debian's becomes visible in the environment. A module of the environment goes before Debian's; a mere
folder of that name, which Python would take for a namespace package, does not.
"""

from __future__ import annotations

import importlib.machinery
import os
import pathlib
import sys
from collections.abc import Sequence
from types import ModuleType

DIST_PACKAGES = pathlib.Path("/usr/lib/python3/dist-packages")
NAMES = ("pygpu", "mako", "markupsafe")


class Finder:
    """Finds `NAMES` in one folder, and nothing else."""

    def __init__(self, folder: str | os.PathLike[str] = DIST_PACKAGES) -> None:
        self.folder = str(folder)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """What the import system calls: the spec of a name of `NAMES`, None for any other."""
        if fullname not in NAMES:
            return None
        first = importlib.machinery.PathFinder.find_spec(fullname)
        if first is not None and first.origin is not None:
            return None
        return importlib.machinery.PathFinder.find_spec(fullname, [self.folder])


def built_for_this_python(folder: str | os.PathLike[str] = DIST_PACKAGES) -> bool:
    """Whether the folder's pygpu has extension modules for the running version of Python."""
    return (pathlib.Path(folder) / "pygpu" / f"gpuarray{importlib.machinery.EXTENSION_SUFFIXES[0]}").is_file()


def install(folder: str | os.PathLike[str] = DIST_PACKAGES) -> bool:
    """Add the finder, once, if the folder's pygpu is built for this Python; return whether it is in place."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return True
    if not built_for_this_python(folder):
        return False
    sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), Finder(folder))
    return True
