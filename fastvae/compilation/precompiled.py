"""Compile theano's C modules faster: the headers that all of them include are compiled once.

A cold start compiles dozens of small modules, and most of the time goes into the headers of Python, numpy and the C++
library. GCC uses a precompiled header instead if all flags agree; otherwise it reads the headers as before, so the
compiled module is the same either way.
"""

from __future__ import annotations

import collections
import hashlib
import logging
import os
import pathlib
import subprocess
import threading

import numpy
from theano import config
from theano.gof.cmodule import GCC_compiler, std_include_dirs

from .drafts import drafts

# Before numpy's own headers: what `fastvae.stack` has theano's compiler include, too late behind them.
NUMPY2 = pathlib.Path(__file__).with_name("numpy2.h")
FIRST = (f'"{NUMPY2}"',) if numpy.__version__.startswith("2.") else ()
HEADERS = (
    *FIRST,
    "<Python.h>",
    "<iostream>",
    '"theano_mod_helper.h"',
    "<numpy/arrayobject.h>",
    "<numpy/arrayscalars.h>",
    "<math.h>",
    "<vector>",
    "<algorithm>",
)
PAYS = 5  # uses of the same flags: the header takes as long to compile as three modules
_compiled_with: collections.Counter[str] = collections.Counter()
_one_at_a_time = threading.Lock()


def install() -> None:
    """Let theano's compiler use precompiled headers, one for each set of flags that is used often."""
    stock = GCC_compiler.compile_str

    def compile_str(
        module_name,
        src_code,
        location=None,
        include_dirs=None,
        lib_dirs=None,
        libs=None,
        preargs=None,
        py_module=True,
        hide_symbols=True,
    ):
        preargs = ["-g0", *(preargs or [])]  # debugging information would take half of the remaining time
        flags = [*preargs, *([] if "-fPIC" in preargs else ["-fPIC"])]
        with _one_at_a_time:
            header = _header(flags, [*(include_dirs or []), *std_include_dirs()]) if hide_symbols else None
        extra = ["-include", header] if header else []
        return stock(
            module_name,
            src_code,
            location=location,
            include_dirs=include_dirs,
            lib_dirs=lib_dirs,
            libs=libs,
            preargs=[*preargs, *extra],
            py_module=py_module,
            hide_symbols=hide_symbols,
        )

    GCC_compiler.compile_str = staticmethod(compile_str)


def _header(flags: list[str], include_dirs: list[str]) -> str | None:
    """The header that is precompiled for these flags once it pays; None before that, or if it fails."""
    flags = [flag for flag in flags if not flag.startswith("-Wl,")]  # g++ would link if it saw one for the linker
    key = hashlib.sha256(repr((config.cxx, flags, include_dirs)).encode()).hexdigest()[:16]
    path = os.path.join(config.compiledir, f"fastvae_{key}.h")
    if os.path.exists(path + ".gch"):
        return path
    _compiled_with[key] += 1
    if _compiled_with[key] != PAYS:  # and if it failed once, it is not tried again
        return None
    with drafts(config.compiledir) as folder:
        header, unfinished = os.path.join(folder, "header.h"), os.path.join(folder, "header.h.gch")
        with open(header, "w", encoding="ascii") as file:
            file.writelines(f"#include {name}\n" for name in HEADERS)
        os.replace(header, path)
        includes = [f"-I{folder}" for folder in include_dirs]
        command = [config.cxx, "-g", *flags, *includes, "-fvisibility=hidden", "-x", "c++-header", path]
        done = subprocess.run([*command, "-o", unfinished], capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.splitlines()
            why = next((line for line in said if "error: " in line), "".join(said[-1:]))
            logging.getLogger("fastvae").warning("headers are not precompiled, a cold start is slower: %s", why)
            return None
        os.replace(unfinished, path + ".gch")
    return path
