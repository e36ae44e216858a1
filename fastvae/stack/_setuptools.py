"""Importing theano does not import setuptools.

theano asks `distutils` where Python's headers are. Where setuptools is installed it puts its own `distutils` in the
place of Python's, and itself with it: a tenth of a second in every process.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Iterator

from fastvae.stack import _gone


def _without_warnings(execute, module):
    """theano's GPU back end imports `imp`, which warns that it is old, unless setuptools imported it before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        execute(module)


@contextlib.contextmanager
def not_imported() -> Iterator[None]:
    """Import theano in the block with Python's own `distutils`, if it has one; everybody else gets what they got."""
    if sys.version_info >= (3, 12) or {"distutils", "setuptools"} & sys.modules.keys():
        yield
        return
    finders = [finder for finder in sys.meta_path if type(finder).__name__ == "DistutilsMetaFinder"]
    for finder in finders:
        sys.meta_path.remove(finder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for name in ("distutils.sysconfig", "numpy.distutils"):  # which warn that they are old
                importlib.import_module(name)
        _gone.as_it_is_imported("theano.tests.breakpoint", _without_warnings)
        yield
    finally:
        sys.meta_path[:0] = finders
        if finders:
            for name in [name for name in sys.modules if name.partition(".")[0] == "distutils"]:
                del sys.modules[name]
