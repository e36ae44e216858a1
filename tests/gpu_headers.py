"""The headers of theano's GPU Ops, compiled once: to read them for every Op takes most of the time of its g++.

GPUs' processes take what `flags` returns as gcc.cxxflags. Where the headers do not fit an Op's command after all, g++
reads them as it does without; nothing but time depends on it.
"""

import hashlib
import pathlib
import subprocess
import sys
import sysconfig
import tempfile

import numpy
import theano
from theano.gof.cmodule import GCC_compiler

from fastvae import devices
from fastvae.compilation.precompiled import FIRST

# The processor by its own name, in place of the hundred flags that theano finds, with which g++ refuses the headers.
FLAGS = "-O0 -g0 -march=native"
HEADERS = (
    *("Python.h", "iostream", "gpuarray/array.h", "gpuarray/kernel.h", "gpuarray/error.h", "gpuarray/buffer.h"),
    *("gpuarray/buffer_blas.h", "numpy/arrayobject.h", "gpuarray_api.h", "gpuarray/types.h", "gpuarray/elemwise.h"),
)


def flags(folder):
    """Flags under which g++ compiles GPU Ops as fast as it can, with headers that are compiled into a folder."""
    pygpu, own = devices.pygpu(), theano.config.gcc.cxxflags.split()
    others = [flag for flag in GCC_compiler.compile_args(march_flags=False) if flag not in own]
    paths = pygpu.path, numpy.get_include(), sysconfig.get_paths()["include"]
    command = ["g++", "-g", *FLAGS.split(), *others, "-fvisibility=hidden", *(f"-I{path}" for path in paths)]
    content = "".join(f"#include {header}\n" for header in (*FIRST, *(f"<{header}>" for header in HEADERS)))
    versions = numpy.__version__, pygpu.version, sys.version
    name = hashlib.sha256(repr((content, command, versions)).encode()).hexdigest()[:12]
    header = pathlib.Path(folder) / name / "headers.h"
    if not header.exists():
        header.parent.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            made = pathlib.Path(draft) / name
            made.mkdir()
            (made / "headers.h").write_text(content)
            binary = made / "headers.h.gch"
            subprocess.run([*command, "-x", "c++-header", "-o", binary, made / "headers.h"], check=True)
            try:
                made.rename(header.parent)
            except OSError:  # another process was first
                assert header.exists()
    return f"{FLAGS} -I{pygpu.path} -include {header}"
