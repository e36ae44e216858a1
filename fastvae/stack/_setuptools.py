"""Importing theano does not import setuptools.

theano asks `distutils` where Python's headers are. Where setuptools is installed it puts its own `distutils` in the
place of Python's, and itself with it: a tenth of a second in every process. From 3.12 on Python has none; theano's
questions are then answered by `sysconfig`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import shutil
import sys
import sysconfig
import types
import warnings
from collections.abc import Iterator

from fastvae.stack import _gone


def _without_warnings(execute, module):
    """theano's GPU back end imports `imp` and `pkg_resources`, which warn that they are old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        execute(module)


@contextlib.contextmanager
def not_imported() -> Iterator[None]:
    """Import theano in the block without setuptools' `distutils`; everybody else gets what they got."""
    if {"distutils", "setuptools"} & sys.modules.keys():
        yield
    elif sys.version_info >= (3, 12):
        modules = _by_sysconfig()
        sys.modules.update(modules)
        _gone.as_it_is_imported("theano.gpuarray.linalg", _without_warnings)
        try:
            yield
        finally:
            for name in modules:
                sys.modules.pop(name, None)
    else:
        with _pythons_own():
            yield


def _by_sysconfig() -> dict[str, types.ModuleType]:
    """What theano asks of `distutils`, by Python's `sysconfig`."""
    names = ("distutils", "distutils.spawn", "distutils.sysconfig")
    package, spawn, config = modules = [types.ModuleType(name) for name in names]
    # In an environment the headers and the standard library are those of the Python that it was made from.
    path = functools.partial(sysconfig.get_path, scheme="posix_prefix")
    vars(package).update(__path__=[], spawn=spawn, sysconfig=config)
    vars(spawn).update(find_executable=shutil.which)
    vars(config).update(
        get_config_var=sysconfig.get_config_var,
        get_config_h_filename=sysconfig.get_config_h_filename,
        get_python_version=sysconfig.get_python_version,
        get_python_inc=lambda plat_specific=False: path("platinclude" if plat_specific else "include"),
        get_python_lib=lambda plat_specific, standard_lib: path("stdlib"),
    )
    return dict(zip(names, modules))


@contextlib.contextmanager
def _pythons_own() -> Iterator[None]:
    """Import theano in the block with Python's own `distutils`, which warns that it is old."""
    finders = [finder for finder in sys.meta_path if type(finder).__name__ == "DistutilsMetaFinder"]
    for finder in finders:
        sys.meta_path.remove(finder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for name in ("distutils.sysconfig", "numpy.distutils"):
                importlib.import_module(name)
        _gone.as_it_is_imported("theano.tests.breakpoint", _without_warnings)
        yield
    finally:
        sys.meta_path[:0] = finders
        if finders:
            for name in [name for name in sys.modules if name.partition(".")[0] == "distutils"]:
                del sys.modules[name]
