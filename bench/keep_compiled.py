"""Run a program, and keep the C modules and the GPU kernels that it compiled, for a bundle (see `ahead.py`).

    python -m bench.keep_compiled FOLDER MODULE [ARGUMENTS]

Afterwards `FOLDER/modules` has each of Theano's C modules that the program loaded, named by a hash of its source, and
the backend's own (see `fastvae/compilation/carried.py`); `FOLDER/compile/compiled` has what Theano compiles when it is
imported, and beside it are the kernels, one folder for each version of nvrtc.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import runpy
import shutil
import sys

EXTENSIONS = ("cutils_ext", "lazylinker_ext", "scan_perform")  # that theano compiles when it is imported
COMPILED = "compiled"  # the name of theano's folder for a platform, which would tell the kernel's version


def keep(folder: pathlib.Path) -> None:
    """Copy what this process has compiled, or found compiled, into a folder."""
    import theano
    from theano.gof.cc import get_module_cache

    from fastvae.backends import c_module
    from fastvae.backends.gpu import library

    modules, compiled = folder / "modules", folder / "compile" / COMPILED
    for path in (modules, compiled):
        path.mkdir(parents=True, exist_ok=True)
    for path in map(pathlib.Path, get_module_cache().module_from_name):
        copy(path, modules / path.name)
    if library.loaded() is not None:
        copy(pathlib.Path(library.compiled()), modules / c_module.carried_name(library.NAME, library.HERE))
    for name in EXTENSIONS:
        with contextlib.suppress(FileNotFoundError):
            ignored = shutil.ignore_patterns("mod.cpp", "__pycache__")
            shutil.copytree(
                os.path.join(theano.config.compiledir, name), compiled / name, ignore=ignored, dirs_exist_ok=True
            )
    for kernels in glob.glob(os.path.join(theano.config.base_compiledir, "gpuarray_kernels_nvrtc_*")):
        shutil.copytree(kernels, compiled.parent / os.path.basename(kernels), dirs_exist_ok=True)


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy a file at once, since programs run side by side."""
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copy(source, unfinished)
    os.replace(unfinished, target)


def main(folder: str, module: str, *arguments: str) -> None:
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    keep(pathlib.Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
