"""Compile c_code/ once into a Python module, keep it beside Theano's compiled modules, load it."""
import glob
import hashlib
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile

import numpy as np
import theano

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
    sources = sorted(glob.glob(os.path.join(HERE, "*.c")))
    return [
        *[theano.config.cxx, *FLAGS],
        *[f"-I{path}" for path in (*includes, *(f"{prefix}/include" for prefix in prefixes))],
        *[word for path in sources for word in ("-x", "c", path)],  # g++ forgets -x c after one file
        *[f"-L{prefix}/lib" for prefix in prefixes],
        *["-lgpuarray", f"-Wl,-rpath,{sys.prefix}/lib"],
    ]


def compiled():
    """The path of the compiled module, in Theano's compile directory; compiled again only when its sources change.

    Raises
    ------
    fastvae.errors.StackError
        If the compiler refuses; the message ends with the compiler's own.
    """
    command = _command()
    digest = hashlib.sha256(repr((command, np.__version__, sysconfig.get_config_var("SOABI"))).encode())
    for path in sorted(glob.glob(os.path.join(HERE, "*"))):
        with open(path, "rb") as source:
            digest.update(source.read())
    path = os.path.join(theano.config.compiledir, f"{NAME}_{digest.hexdigest()[:16]}.so")
    if not os.path.exists(path):
        handle, temporary = tempfile.mkstemp(suffix=".so", dir=theano.config.compiledir)
        os.close(handle)
        result = subprocess.run([*command, "-o", temporary], capture_output=True, text=True)
        if result.returncode:
            os.unlink(temporary)
            raise StackError(
                f"the GPU backend did not compile with {theano.config.cxx!r} (install g++ 9 or later and "
                f"libgpuarray-dev): {result.stderr.strip()[-2000:]}"
            )
        os.replace(temporary, path)  # at once, so that a second process never loads half a file
    return path


def load():
    """Load the module.

    Raises
    ------
    fastvae.errors.StackError
        As `compiled` does.
    """
    global _loaded
    loader = importlib.machinery.ExtensionFileLoader(NAME, compiled())
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(NAME, loader))
    loader.exec_module(module)
    _loaded = module


def open_cudnn(path, tf32, deterministic, search):
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


def loaded():
    """The module, once `load` was called.

    ``make_thunk(kind, settings, constants, inputs, outputs)`` gives a capsule, ``call_thunk(capsule)`` runs it.
    """
    return _loaded
