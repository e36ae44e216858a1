"""Compile c_code/ once into a Python module, keep it beside Theano's compiled modules, load it."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import threading
from types import ModuleType

import numpy as np
import theano
from theano.gof.cmodule import GCC_compiler

from fastvae.backends import c_module
from fastvae.devices.onednn_library import Missing, locate
from fastvae.errors import StackError

NAME = "fastvae_cpu"
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c_code")
# Only flags that leave NaN tests and denormals alone; -ffast-math at link time would flush denormals process-wide.
FLAGS = "-std=gnu11 -O3 -fno-math-errno -fno-trapping-math -fopenmp -shared -fPIC -fvisibility=hidden".split()

_one_at_a_time = threading.Lock()


def _command():
    found = locate()
    if isinstance(found, Missing):
        raise StackError(f"the backend of CPUs cannot be compiled: {found}")
    GCC_compiler.compile_args()  # finds out what -march=native stands for on this processor, unless flags name one
    own = [flag for flag in theano.config.gcc.cxxflags.split() if flag.startswith("-m")]
    includes = [found.include, np.get_include(), sysconfig.get_path("include")]
    folder = os.path.dirname(found.library)
    return [
        *[theano.config.cxx, *FLAGS, *own, *(GCC_compiler.march_flags or [])],
        *[f"-I{path}" for path in includes],
        *c_module.sources(HERE),
        *[f"-L{folder}", "-l:" + os.path.basename(found.library), f"-Wl,-rpath,{folder}"],
    ]


def compiled() -> str:
    """The path of the compiled module, in Theano's compile directory.

    It is compiled again only when its sources, oneDNN, numpy, the compiler's flags or the processor change.

    Raises
    ------
    fastvae.errors.StackError
        If oneDNN is missing or the compiler refuses; the message ends with the compiler's own.
    """
    with _one_at_a_time:
        remedy = "install g++ 9 or later, or take the profile 'cpu-blas'"
        return c_module.built(NAME, HERE, _command(), "the backend of CPUs", remedy)


@functools.lru_cache(maxsize=None)
def load() -> ModuleType:
    """The compiled module: ``make_thunk(op, settings, inputs, outputs)`` and ``call_thunk(capsule)``.

    Raises
    ------
    fastvae.errors.StackError
        As `compiled` does.
    """
    module = sys.modules[NAME] = c_module.loaded(NAME, compiled())
    return module
