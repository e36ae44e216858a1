"""Which instructions theano's compiler may use: found out once a compile folder, and by one thread at a time.

Theano asks the compiler what `-march=native` stands for, and tries it. While it does, the answer that a second thread
gets is "nothing", and what that compiles is without the processor's instructions. Three runs of the compiler take a
tenth of a second in every process; here the answer is kept in the compile folder, for this processor and this compiler.

The answer is part of every module's key. So processors of different kinds may share a compile folder: each finds its
own modules. The exception are theano's two helpers, which are compiled once a folder: `fastvae.stack` has them compiled
for any processor.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import platform
import shutil
import threading

from theano import config
from theano.configdefaults import gcc_version_str
from theano.gof.cmodule import GCC_compiler

CPUINFO = "/proc/cpuinfo"
_one_at_a_time = threading.RLock()  # trying the flags asks for those without them


def install() -> None:
    """Have theano remember what it has found out."""
    stock = GCC_compiler.compile_args

    @functools.wraps(stock)
    def compile_args(march_flags=True):
        with _one_at_a_time:
            if not march_flags or GCC_compiler.march_flags is not None or _is_given():
                return stock(march_flags)
            GCC_compiler.march_flags = remembered()
            found = GCC_compiler.march_flags is None
            arguments = stock(march_flags)
            if found:
                _remember(GCC_compiler.march_flags)
            return arguments

    GCC_compiler.compile_args = staticmethod(compile_args)


def remembered() -> list[str] | None:
    """The flags for this processor and this compiler; None if they are not known."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(_path().read_text(encoding="ascii"))
    return None


def kind(cpuinfo: str = CPUINFO) -> str:
    """What this processor is told from others by: its architecture and the features that the kernel lists.

    Parameters
    ----------
    cpuinfo : str
        The kernel's file.
    """
    with contextlib.suppress(OSError), open(cpuinfo, encoding="ascii", errors="replace") as file:
        for line in file:
            name, _, features = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return " ".join([platform.machine(), *sorted(features.split())])
    return platform.machine()


def _is_given():
    return any(flag.startswith(("-march=", "--march=")) for flag in config.gcc.cxxflags.split())


def _path():
    compiler = shutil.which(config.cxx) or config.cxx
    with contextlib.suppress(OSError):
        compiler = f"{os.path.realpath(compiler)} {os.stat(compiler).st_mtime_ns}"
    known = hashlib.sha256(repr((compiler, gcc_version_str, config.gcc.cxxflags, kind())).encode()).hexdigest()[:16]
    return pathlib.Path(config.compiledir, f"fastvae_march_{known}.json")


def _remember(flags):
    path = _path()
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(flags), encoding="ascii")
    os.replace(unfinished, path)
