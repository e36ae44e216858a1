"""Theano's virtual machine is compiled for any processor, and at once.

Every module's key says for which instructions it was compiled, but that of `lazylinker_ext`, which theano compiles once
a folder, for the processor at hand: another one that shares the folder and lacks its instructions would end with
SIGILL. It computes nothing, so it loses nothing without them. A process that starts meanwhile must not find half of it:
whoever imports it first does so under a lock, beside which the others wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil

from fastvae.stack import _gone

MARK = "for_any_processor"
MODULE = "theano.gof.lazylinker_c"


def install() -> None:
    """Have it compiled so when theano is imported."""
    _gone.as_it_is_imported(MODULE, _compiled_for_any)


def _compiled_for_any(execute, module):
    from theano import config
    from theano.gof.cmodule import GCC_compiler

    folder = os.path.join(config.compiledir, "lazylinker_ext")
    mark = os.path.join(folder, MARK)
    stock = GCC_compiler.compile_args
    with _alone(os.path.join(config.compiledir, f"fastvae_{MARK}.lock")):
        if config.cxx and not os.path.exists(mark):  # there is none, or an older fastvae's
            shutil.rmtree(folder, ignore_errors=True)
        GCC_compiler.compile_args = staticmethod(lambda march_flags=True: stock(march_flags=False))
        try:
            execute(module)
        finally:
            GCC_compiler.compile_args = staticmethod(stock)
        with contextlib.suppress(OSError):  # of a read-only folder
            open(mark, "a").close()


@contextlib.contextmanager
def _alone(path):
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a read-only folder, or a file system without locks
            file = stack.enter_context(open(path, "ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
