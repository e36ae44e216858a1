"""Compile c_code/ once into a Python module, keep it beside Theano's compiled modules, load it."""

from __future__ import annotations

import os
import sys
import sysconfig
from types import ModuleType

import numpy as np
import theano

from fastvae.backends import c_module
from fastvae.errors import StackError

NAME = "fastvae_gpu"
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c_code")
FLAGS = "-std=gnu11 -O2 -shared -fPIC -fvisibility=hidden".split()
WORKSPACE_LIMIT = 1 << 30  # bytes that one convolution may take beside its operands

_loaded = None


def _command():
    import pygpu

    prefixes = (sys.prefix, "/usr/local", "/usr")
    includes = [pygpu.get_include(), np.get_include(), sysconfig.get_path("include")]
    return [
        *[theano.config.cxx, *FLAGS],
        *[f"-I{path}" for path in (*includes, *(f"{prefix}/include" for prefix in prefixes))],
        *c_module.sources(HERE),
        *[f"-L{prefix}/lib" for prefix in prefixes],
        *["-lgpuarray", f"-Wl,-rpath,{sys.prefix}/lib"],
    ]


def compiled() -> str:
    """The path of the compiled module, in Theano's compile directory; compiled again only when its sources change.

    Raises
    ------
    fastvae.errors.StackError
        If the compiler refuses; the message ends with the compiler's own.
    """
    return c_module.built(NAME, HERE, _command(), "the GPU backend", "install g++ 9 or later and libgpuarray-dev")


def load() -> None:
    """Load the module.

    Raises
    ------
    fastvae.errors.StackError
        As `compiled` does.
    """
    global _loaded
    _loaded = c_module.loaded(NAME, compiled())


def open_cudnn(path: str, tf32: bool, deterministic: bool, search: bool) -> None:
    """Open cuDNN for the loaded module; how convolutions are computed holds for the process.

    Raises
    ------
    fastvae.errors.StackError
        If the library is not cuDNN 9.
    """
    try:
        _loaded.open_cudnn(path, tf32, deterministic, search, WORKSPACE_LIMIT)
    except OSError as error:
        raise StackError(f"{error}: see `fastvae devices`") from None


def loaded() -> ModuleType:
    """The module, once `load` was called.

    ``make_thunk(kind, settings, inputs, outputs)`` gives a capsule, ``call_thunk(capsule)`` runs it.
    """
    return _loaded
