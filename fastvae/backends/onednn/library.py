"""Compile c_code/ once into a Python module, keep it beside Theano's compiled modules, load it."""

import functools
import glob
import hashlib
import importlib.machinery
import importlib.util
import os
import subprocess
import sysconfig
import tempfile
import threading

import numpy as np
import theano
from theano.gof.cmodule import GCC_compiler

from fastvae.backends.onednn.location import Missing, locate
from fastvae.errors import StackError

NAME = "fastvae_onednn"
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c_code")
# Only flags that leave NaN tests and denormals alone; -ffast-math at link time would flush denormals process-wide.
FLAGS = "-std=gnu11 -O3 -fno-math-errno -fno-trapping-math -fopenmp -shared -fPIC -fvisibility=hidden".split()

_one_at_a_time = threading.Lock()


def _command():
    found = locate()
    if isinstance(found, Missing):
        raise StackError(f"the oneDNN backend cannot be compiled: {found}")
    GCC_compiler.compile_args()  # finds out what -march=native stands for on this processor
    includes = [found.include, np.get_include(), sysconfig.get_path("include")]
    sources = sorted(glob.glob(os.path.join(HERE, "*.c")))
    folder = os.path.dirname(found.library)
    return [
        *[theano.config.cxx, *FLAGS, *(GCC_compiler.march_flags or [])],
        *[f"-I{path}" for path in includes],
        *[word for path in sources for word in ("-x", "c", path)],  # g++ forgets -x c after one file
        *[f"-L{folder}", "-l:" + os.path.basename(found.library), f"-Wl,-rpath,{folder}"],
    ]


def _digest(command):
    """Of everything that the compiled module depends on."""
    digest = hashlib.sha256(repr((command, np.__version__, sysconfig.get_config_var("SOABI"))).encode())
    for path in sorted(glob.glob(os.path.join(HERE, "*"))):
        with open(path, "rb") as source:
            digest.update(source.read())
    return digest.hexdigest()[:16]


def compiled():
    """The path of the compiled module, in Theano's compile directory.

    It is compiled again only when its sources, oneDNN, numpy, the compiler's flags or the processor change.

    Raises
    ------
    fastvae.errors.StackError
        If oneDNN is missing or the compiler refuses; the message ends with the compiler's own.
    """
    with _one_at_a_time:
        command = _command()
        path = os.path.join(theano.config.compiledir, f"{NAME}_{_digest(command)}.so")
        if not os.path.exists(path):
            _compile(command, path)
        return path


def _compile(command, path):
    handle, temporary = tempfile.mkstemp(suffix=".so", dir=theano.config.compiledir)
    os.close(handle)
    result = subprocess.run([*command, "-o", temporary], capture_output=True, text=True)
    if result.returncode:
        os.unlink(temporary)
        raise StackError(
            f"the oneDNN backend did not compile with {theano.config.cxx!r} (install g++ 9 or later, or take "
            f"the profile 'cpu-blas'): {result.stderr.strip()[-2000:]}"
        )
    os.replace(temporary, path)  # at once, so that a second process never loads half a file


@functools.lru_cache(maxsize=None)
def load():
    """The compiled module: ``make_thunk(op, settings, inputs, outputs)`` and ``call_thunk(capsule)``.

    Raises
    ------
    fastvae.errors.StackError
        As `compiled` does.
    """
    loader = importlib.machinery.ExtensionFileLoader(NAME, compiled())
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(NAME, loader))
    loader.exec_module(module)
    return module
