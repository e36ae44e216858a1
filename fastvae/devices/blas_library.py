"""Which BLAS Theano links: the flags for `blas.ldflags`, and the file behind them.

Examples
--------
>>> link_flags("/usr/lib/libopenblas.so")
'-L/usr/lib -lopenblas'
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import stat
import tempfile

from fastvae.devices.findings import find_library
from fastvae.errors import StackError

# What theano's C code calls. In scipy's wheels from 1.14 on, their names begin with "scipy_".
FUNCTIONS = [f"{kind}{name}_" for kind in "sd" for name in ("axpy", "dot", "gemm", "gemv", "ger")]


def link_flags(library: str | os.PathLike[str]) -> str:
    """The value of `blas.ldflags` that links one library file; theano itself adds the run-time search path.

    Parameters
    ----------
    library : path-like

    Returns
    -------
    str

    Raises
    ------
    StackError
        If the folder's name contains white space, at which theano splits its flags, and no link to it can be made.
    """
    path = pathlib.Path(library)
    flags = [f"-L{_without_spaces(path.parent)}", f"-l{path.name.removeprefix('lib').removesuffix('.so')}"]
    if os.path.basename(os.path.realpath(path)).startswith("libscipy_openblas"):
        flags += [f"-D{name}=scipy_{name}" for name in FUNCTIONS]
    return " ".join(flags)


def linked_library(ldflags: str) -> str | None:
    """The file that the linker takes for the first library of flags such as ``-L/opt/blas -lopenblas``, or None."""
    flags = ldflags.split()
    folders = [flag[2:] for flag in flags if flag.startswith("-L")]
    for name in (f"lib{flag[2:]}.so" for flag in flags if flag.startswith("-l")):
        named = (os.path.join(folder, name) for folder in folders)
        library = next(filter(os.path.exists, named), None) or find_library(name)
        if library:
            return library
    return None


def _without_spaces(folder: pathlib.Path) -> pathlib.Path:
    """The folder, or a link to it whose name contains no white space."""
    if len(str(folder).split()) == 1:
        return folder
    temporary = os.path.join(tempfile.gettempdir(), f"fastvae-{os.getuid()}")
    for base in (os.path.expanduser("~/.cache/fastvae"), temporary):
        link = pathlib.Path(base, "blas-" + hashlib.sha256(str(folder).encode()).hexdigest()[:12])
        if len(base.split()) == 1 and _is_linked(link, folder):
            return link
    raise StackError(
        f"theano cannot link a BLAS from a folder with spaces in its name, {str(folder)!r}, and no link to it could be "
        f"made in {temporary!r}, which must be a folder of your own that nobody else can write to: remove it, or set "
        "TMPDIR to a writable folder without spaces"
    )


def _is_linked(link: pathlib.Path, folder: pathlib.Path) -> bool:
    """Make the link, or trust one that exists; both only in a folder to which nobody but this user can write."""
    try:
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = link.parent.lstat()  # lstat: the name is known, so another user may have put a link there
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            return False
        if not link.is_symlink():
            link.symlink_to(folder)
        return os.readlink(link) == str(folder) and link.lstat().st_uid == os.getuid()
    except OSError:
        return False
