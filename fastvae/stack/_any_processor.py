"""Theano's virtual machine is compiled for any processor, and at once.

Every module's key says for which instructions it was compiled, but that of `lazylinker_ext`, which theano compiles once
a folder, for the processor at hand: another one that shares the folder and lacks its instructions would end with
SIGILL. It computes nothing, so it loses nothing without them. A process that starts meanwhile must not find half of it
or of `cutils_ext`: whoever imports them first does so under a lock, beside which the others wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import os
import shutil
import sys

MARK = "for_any_processor"
MODULES = ("theano.gof.lazylinker_c", "theano.gof.cutils")


def install() -> None:
    """Have both modules imported so; before theano is imported."""
    sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds each of the modules once."""

    def __init__(self):
        self.left = list(MODULES)

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self.left:
            return None
        self.left.remove(fullname)
        spec = importlib.util.find_spec(fullname)
        spec.loader.exec_module = functools.partial(_compiled_for_any, spec.loader.exec_module)
        return spec


def _compiled_for_any(execute, module):
    from theano import config
    from theano.gof.cmodule import GCC_compiler

    stock = GCC_compiler.compile_args
    with _alone(os.path.join(config.compiledir, f"fastvae_{MARK}.lock")):
        if module.__name__ == MODULES[0]:
            folder = os.path.join(config.compiledir, "lazylinker_ext")
            mark = os.path.join(folder, MARK)
            if not os.path.exists(mark):  # none, or an older fastvae's
                shutil.rmtree(folder, ignore_errors=True)
            GCC_compiler.compile_args = staticmethod(lambda march_flags=True: stock(march_flags=False))
        try:
            execute(module)
        finally:
            GCC_compiler.compile_args = staticmethod(stock)
        if module.__name__ == MODULES[0]:
            with contextlib.suppress(OSError):  # of a read-only folder
                open(mark, "a").close()


@contextlib.contextmanager
def _alone(path):
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a read-only folder, or a file system without locks
            file = stack.enter_context(open(path, "ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
