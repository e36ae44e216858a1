"""A backend's C code as one Python module, compiled once and kept beside Theano's, and the thunks that it makes.

built     the path of the compiled module
loaded    the module
thunk     a node's thunk: one that the module makes, as `c_code/thunks.c` does for both backends
"""

from __future__ import annotations

import glob
import hashlib
import importlib.machinery
import importlib.util
import os
import subprocess
import sysconfig
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import theano

from fastvae.compilation import carried
from fastvae.compilation.drafts import drafts
from fastvae.errors import StackError

SHARED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c_code")


class Thunk:
    """What Theano's virtual machines call: `cthunk` without Python in between, or the object itself."""

    lazy = False

    def __init__(self, module, capsule, node, compute_map):
        self.cthunk = capsule
        self._call = module.call_thunk
        self._computed = [compute_map[v] for v in node.outputs]

    def __call__(self):
        self._call(self.cthunk)
        for cell in self._computed:
            cell[0] = True


def thunk(
    module: ModuleType, kind: str, settings: Iterable[float], node: Any, storage_map: dict, compute_map: dict
) -> Thunk:
    """The thunk of a node whose Op is of this kind in a module, with settings that are numbers."""
    cells = [[storage_map[v] for v in variables] for variables in (node.inputs, node.outputs)]
    return Thunk(module, module.make_thunk(kind, tuple(map(float, settings)), *cells), node, compute_map)


def digest(folder: str, command: list[str], *others: str) -> str:
    """A hash of everything that a module depends on: its folder's sources, others', and the command for them."""
    found = hashlib.sha256(repr((command, np.__version__, sysconfig.get_config_var("SOABI"))).encode())
    for path in sorted(path for home in (SHARED, folder, *others) for path in glob.glob(os.path.join(home, "*.[ch]"))):
        with open(path, "rb") as source:
            found.update(source.read())
    return found.hexdigest()[:16]


def sources(folder: str) -> list[str]:
    """The words of a compiler's command that name the folder's C files, and those that both backends share."""
    paths = sorted(glob.glob(f"{SHARED}/*.c") + glob.glob(f"{folder}/*.c"))
    return [f"-I{SHARED}", f"-I{folder}", *(word for path in paths for word in ("-x", "c", path))]  # g++ forgets -x c


def built(name: str, folder: str, command: list[str], backend: str, remedy: str, *others: str) -> str:
    """The path of the compiled module, in Theano's compile directory; compiled only if its digest is new.

    An environment that carries the module (`fastvae.compilation.carried`) needs no compiler for it. `others` are
    folders whose files it includes beside its own.

    Raises
    ------
    fastvae.errors.StackError
        If the compiler refuses; the message names the backend and the remedy, and ends with the compiler's own.
    """
    carries = os.path.join(carried.folder(), carried_name(name, folder, *others))
    path = os.path.join(theano.config.compiledir, f"{name}_{digest(folder, command, *others)}.so")
    if os.path.exists(carries) or os.path.exists(path):
        return carries if os.path.exists(carries) else path
    with drafts(theano.config.compiledir) as home:
        unfinished = os.path.join(home, "module.so")
        said = _compile(command, home, unfinished)
        if said is not None:
            raise StackError(f"{backend} did not compile with {theano.config.cxx!r} ({remedy}): {said.strip()[-2000:]}")
        os.replace(unfinished, path)  # at once, so that a second process never loads half a file
    return path


def _compile(command, home, library):
    """Run a compiler's command, its C files side by side; what a compiler said if it refused, else None."""
    files = [path for before, path in zip(command[1:], command[2:]) if before == "c" and path.endswith(".c")]
    objects = [os.path.join(home, f"{os.path.basename(path)}.o") for path in files]
    compiler, *others = [word for word in command if word not in {"-x", "c", *files}]
    flags = [word for word in others if not word.startswith(("-shared", "-l", "-L", "-Wl,"))]
    before_libraries = next((i for i, word in enumerate(others) if word.startswith(("-l", "-L"))), len(others))
    link = [compiler, *others[:before_libraries], *objects, *others[before_libraries:], "-o", library]
    largest_first = sorted(zip(files, objects), key=lambda pair: -os.path.getsize(pair[0]))
    commands = [[compiler, *flags, "-c", "-x", "c", path, "-o", place] for path, place in largest_first]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(_run, commands))
    said = [result.stderr for result in results if result.returncode]
    if not said:
        result = _run(link)
        said = [result.stderr] if result.returncode else []
    return said[0] if said else None


def _run(command):
    return subprocess.run(command, capture_output=True, text=True)


def carried_name(name: str, folder: str, *others: str) -> str:
    """The file's name in an environment that carries the module: its sources alone count."""
    return f"{name}_{digest(folder, [], *others)}.so"


def loaded(name: str, path: str) -> ModuleType:
    """The module of a compiled file."""
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=path))
    loader.exec_module(module)
    return module
