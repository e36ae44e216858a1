"""Compile c_code/ once into a Python module, keep it beside Theano's compiled modules, load it.

The folders of c_code/parts/ have Ops that many models lack. Each is compiled by itself, when a graph first has one of
its Ops, and calls the functions of the module: a first start compiles half as much.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import glob
import os
import sys
import sysconfig
import threading
from collections.abc import Iterable
from types import ModuleType

import numpy as np
import theano
from theano.gof import Apply
from theano.gof.cmodule import GCC_compiler

from fastvae.backends import c_module
from fastvae.devices.onednn_library import Missing, locate
from fastvae.errors import StackError

NAME = "fastvae_cpu"
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c_code")
PARTS = os.path.join(HERE, "parts")
# Only flags that leave NaN tests and denormals alone; -ffast-math at link time would flush denormals process-wide.
FLAGS = "-std=gnu11 -O3 -fno-math-errno -fno-trapping-math -fopenmp -shared -fPIC -fvisibility=hidden".split()
FLAGS += ["-fno-semantic-interposition", "-Wl,-Bsymbolic"]  # the module calls its own functions
REMEDY = "install g++ 9 or later, or take the profile 'cpu-blas'"

_one_at_a_time: collections.defaultdict[str | None, threading.Lock] = collections.defaultdict(threading.Lock)


def _command(part=None):
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
        *(c_module.sources(HERE) if part is None else _sources_of(part)),
        *[f"-L{folder}", "-l:" + os.path.basename(found.library), f"-Wl,-rpath,{folder}"],
    ]


def _sources_of(part):
    folder = os.path.join(PARTS, part)
    paths = [os.path.join(PARTS, "part.c"), *sorted(glob.glob(os.path.join(folder, "*.c")))]
    places = [f"-I{place}" for place in (folder, HERE, c_module.SHARED)]
    return [*places, *(word for path in paths for word in ("-x", "c", path))]


def compiled(part: str | None = None) -> str:
    """The path of the compiled module, or of a part of it, in Theano's compile directory.

    It is compiled again only when its sources, oneDNN, numpy, the compiler's flags or the processor change.

    Parameters
    ----------
    part : str, optional
        A folder of c_code/parts/.

    Raises
    ------
    fastvae.errors.StackError
        If oneDNN is missing or the compiler refuses; the message ends with the compiler's own.
    """
    with _one_at_a_time[part]:
        if part is None:
            return c_module.built(NAME, HERE, _command(), "the backend of CPUs", REMEDY)
        folder, name = os.path.join(PARTS, part), f"{NAME}_{part}"
        return c_module.built(name, folder, _command(part), f"{part} of the backend of CPUs", REMEDY, HERE, PARTS)


def begin(nodes: Iterable[Apply]) -> None:
    """Let threads compile the parts that a graph's Ops need; what fails there is tried again when it is needed."""

    def tried(part):
        with contextlib.suppress(Exception):
            compiled(part)

    for part in {part for node in nodes if (part := getattr(node.op, "part", None)) is not None}:
        threading.Thread(target=tried, args=(part,), daemon=True).start()


@functools.lru_cache(maxsize=None)
def load(part: str | None = None) -> ModuleType:
    """The compiled module: ``make_thunk(op, settings, inputs, outputs)`` and ``call_thunk(capsule)``.

    Parameters
    ----------
    part : str, optional
        Whose Ops it is to have too.

    Raises
    ------
    fastvae.errors.StackError
        As `compiled` does.
    """
    if part is not None:
        module = load(None)  # what Ops of no part ask for: `load()` would be remembered apart, and loaded again
        module.load_part(compiled(part))
        return module
    module = sys.modules[NAME] = c_module.loaded(NAME, compiled())
    return module
