"""Let a virtual environment import Debian's pygpu, which no package index carries.

`apt-get install python3-pygpu` puts pygpu where only Debian's own interpreter looks. `install()` adds a
finder at the very end of the import system that knows three names (pygpu and what it needs beyond
this package's own dependencies), so nothing else of Debian's can shadow or complete the environment.
"""

import importlib.machinery
import pathlib
import sys

DIST_PACKAGES = pathlib.Path("/usr/lib/python3/dist-packages")
NAMES = ("pygpu", "mako", "markupsafe")


class Finder:
    """Find `NAMES` in one folder, and nothing else."""

    def __init__(self, folder=DIST_PACKAGES):
        self.folder = str(folder)

    def find_spec(self, fullname, path=None, target=None):
        """The import system's question: a top-level name of ours, else None."""
        if fullname not in NAMES:
            return None
        return importlib.machinery.PathFinder.find_spec(fullname, [self.folder])


def built_for_this_python(folder=DIST_PACKAGES):
    """Whether the folder's pygpu has extension modules of the running Python's version."""
    return (pathlib.Path(folder) / "pygpu" / f"gpuarray{importlib.machinery.EXTENSION_SUFFIXES[0]}").is_file()


def install(folder=DIST_PACKAGES):
    """Append the finder, once, if the folder's pygpu is built for this Python; return whether it is in place."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return True
    if not built_for_this_python(folder):
        return False
    sys.meta_path.append(Finder(folder))
    return True
