"""Where CUDA's libraries may be, and what a library says about itself.

    candidates      the files of one library on this machine, the best first
    asked           what a child process learns from a file: its version, and what is wrong with it

The places, in order of preference: folders named by the user (argument, then FASTVAE_CUDA_PATH, then the profile's key
``cuda_path``), the PyPI wheels of this environment, those in another interpreter's site-packages if the user named that
folder, and the system.

Examples
--------
>>> candidates("nvrtc", "/opt/nowhere", environ={}, own=[], system=[])
[]
"""

from __future__ import annotations

import glob
import json
import os
import re
import site
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fastvae.devices.findings import ask, find_library

# The names of the libraries without a version.
PLAIN = {"nvrtc": "libnvrtc.so", "cublas": "libcublas.so", "cudnn": "libcudnn.so", "nccl": "libnccl.so"}
VARIABLE = "FASTVAE_CUDA_PATH"
SYSTEM = ("/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/x86_64-linux/lib", "/opt/cuda/lib64")
MAJORS = {"nvrtc": (13, 12, 11), "cublas": (13, 12, 11), "cudnn": (9, 8), "nccl": (2,)}

# The parts that libcudnn.so.9 opens by name when a convolution needs them.
CUDNN_PARTS = ("graph", "ops", "cnn", "engines_precompiled", "engines_runtime_compiled", "heuristic")

# Loads one library (sys.argv[1]: nvrtc, cublas, cudnn or nccl; [2]: its path; [3]: a compute capability such as 90, or
# nothing) and prints what it reports as a JSON object.
_PROBE = """
import ctypes, glob, json, os, sys
name, path, capability = sys.argv[1:]
def beside(pattern):
    for file in sorted(glob.glob(os.path.join(os.path.dirname(path), pattern))):
        ctypes.CDLL(file)
def number(function, *arguments):
    value = ctypes.c_int()
    status = function(*arguments, ctypes.byref(value))
    return value.value if status == 0 else -1
def report(**values):
    print(json.dumps(values))
    sys.exit()
if name == "nvrtc":
    builtins = glob.glob(os.path.join(os.path.dirname(path), "libnvrtc-builtins.so.[0-9]*"))
    beside("libnvrtc-builtins.so.[0-9]*")
    nvrtc = ctypes.CDLL(path)
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    version = [major.value, minor.value]
    if not builtins:
        report(version=version, error="libnvrtc-builtins.so.%d.%d is not beside it" % tuple(version))
    program = ctypes.c_void_p()
    source = b"extern \\"C\\" __global__ void k(float *x) { x[threadIdx.x] = 0; }"
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    status = nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"k", 0, None, None)
    option = (ctypes.c_char_p * 1)(b"-arch=compute_%s" % capability.encode())
    status = status or nvrtc.nvrtcCompileProgram(program, 1 if capability else 0, option)
    error = nvrtc.nvrtcGetErrorString(status).decode() if status else ""
    report(version=version, error=error and "it does not compile for compute_%s (%s)" % (capability, error))
if name == "cublas":
    beside("libcublasLt.so.[0-9]*")
    cublas = ctypes.CDLL(path)
    report(version=[number(cublas.cublasGetProperty, part) for part in range(3)], error="")
if name == "nccl":
    version = number(ctypes.CDLL(path).ncclGetVersion)
    report(version=[version // 10000, version % 10000 // 100, version % 100], error="")
cudnn = ctypes.CDLL(path)
cudnn.cudnnGetVersion.restype = cudnn.cudnnGetCudartVersion.restype = ctypes.c_size_t
version, runtime = cudnn.cudnnGetVersion(), cudnn.cudnnGetCudartVersion()
big = 10000 if version >= 90000 else 1000
report(version=[version // big, version % big // 100, version % 100], cuda=runtime // 1000, error="")
"""


class Answer(NamedTuple):
    """What a library reports: its version, the major version of CUDA that it belongs to, and what is wrong with it."""

    version: tuple[int, ...]
    cuda: int
    error: str  #: empty if nothing is

    def __str__(self) -> str:
        return ".".join(map(str, self.version)) or "of unknown version"


def candidates(
    name: str,
    cuda_path: str | None = None,
    environ: Mapping[str, str] | None = None,
    own: Sequence[str | os.PathLike[str]] | None = None,
    system: Iterable[str] | None = None,
) -> list[str]:
    """The paths of one library's files: the best place first, and in each the newest major version first.

    Parameters
    ----------
    name : {"nvrtc", "cublas", "cudnn", "nccl"}
    cuda_path : str, optional
        Folders, separated by colons: each with the libraries themselves, a toolkit's root, or another interpreter's
        site-packages.
    environ : mapping, optional
        By default the process's environment.
    own : list of path-like, optional
        This environment's site-packages folders.
    system : iterable of str, optional
        Patterns of the system's folders, searched after the loader's own; if it is empty, neither are searched.

    Returns
    -------
    list of str
    """
    environ = os.environ if environ is None else environ
    own = list(dict.fromkeys([sysconfig.get_paths()["purelib"], *site.getsitepackages()])) if own is None else own
    system = SYSTEM if system is None else tuple(system)
    named = [folder for folder in (cuda_path or environ.get(VARIABLE) or "").split(":") if folder]
    folders = [
        *[folder for one in named for folder in (one, f"{one}/lib64", f"{one}/lib")],
        *_wheels(own),
        *_wheels(named),
    ]
    found = [path for folder in folders for path in _files(name, folder)]
    for major in MAJORS[name] if system else ():
        found += filter(None, [find_library(f"{PLAIN[name]}.{major}")])
    found += [path for pattern in system for folder in sorted(glob.glob(pattern)) for path in _files(name, folder)]
    return list({os.path.realpath(path): path for path in reversed(found)}.values())[::-1]


def _wheels(roots: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Where NVIDIA's wheels put their libraries: in nvidia/cuda_nvrtc/lib and the like, or in nvidia/cu13/lib."""
    return [folder for root in roots for folder in sorted(glob.glob(os.path.join(root, "nvidia", "*", "lib")))]


def _files(name: str, folder: str) -> list[str]:
    """A library's files in a folder that are named by their SONAME, which ends in one number; the newest first."""
    pattern = re.compile(re.escape(PLAIN[name]) + r"\.(\d+)$")
    numbered = [(int(match[1]), path) for path in glob.glob(f"{folder}/*") if (match := pattern.search(path))]
    return [path for _, path in sorted(numbered, reverse=True)]


def asked(name: str, path: str, capability: str = "") -> Answer:
    """Load a library in a child process and ask it about itself.

    Parameters
    ----------
    name : {"nvrtc", "cublas", "cudnn", "nccl"}
    path : str
    capability : str
        A compute capability such as ``"90"``, for which nvrtc then compiles a small kernel.

    Returns
    -------
    Answer
    """
    if name == "cudnn":
        lacking = [file for file in _cudnn_parts(path) if not os.path.exists(file)]
        if lacking:
            return Answer((), 0, f"it is incomplete, {', '.join(map(os.path.basename, lacking))} is not beside it")
    output, failure = ask(_PROBE, name, path, capability)
    if failure:
        return Answer((), 0, failure)
    said = json.loads(output)
    return Answer(tuple(said["version"]), said.get("cuda", said["version"][0]), said["error"])


def _cudnn_parts(path: str) -> list[str]:
    stem, number = path.rsplit(".so.", 1)
    return [f"{stem}_{part}.so.{number}" for part in CUDNN_PARTS]
