"""What this machine has to compute with; and for everything that is missing, why, and what to install.

Each check is a function that returns a `Finding`. `report()` runs all of them, and `describe()` returns the report as
text. No check imports theano, numpy or scipy, and none loads a driver into this process: a child process asks it.

    compiler headers blas onednn                          the CPU
    pygpu gpuarray_headers clblast opencl                 a device through OpenCL
    cuda_libraries.find                                   a device through CUDA
    cuda_libraries.nccl                                   several of them, a rank each

Other modules here: `threads` and `forks` (thread pools), `blas_library` (what to link), `cuda_search` and
`cuda_loading` (where CUDA's libraries are, and how they get into the process), `onednn_library` (where oneDNN is),
`debian_pygpu` and `build_pygpu` (where pygpu comes from), `findings`.

Examples
--------
>>> finding = headers()
>>> finding.name, finding.found
("Python's headers", True)
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable

from fastvae import kinds
from fastvae.devices import cuda_libraries, debian_pygpu, onednn_library
from fastvae.devices.findings import Finding, ask, find_library, version_of

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SCIPY = "scipy==" + {"3.10": "1.7.3", "3.11": "1.10.1", "3.12": "1.13.1", "3.13": "1.14.1"}[PYTHON]  # as in setup.py
VENDORS = pathlib.Path("/etc/OpenCL/vendors")
APT = "apt-get install --no-install-recommends"
ELSEWHERE = "Debian 12; elsewhere `fastvae build-pygpu`, without network a bundle: docs/tutorials/gpus.md"

# Lists OpenCL's platforms and devices, numbered as libgpuarray does; prints a JSON object.
_OPENCL_PROBE = """
import ctypes, json
cl = ctypes.CDLL("libOpenCL.so")
def ids(function, *owner):
    count = ctypes.c_uint()
    function(*owner, 0, None, ctypes.byref(count))
    found = (ctypes.c_void_p * count.value)()
    if count.value:
        function(*owner, count, found, None)
    return [ctypes.c_void_p(one) for one in found]
def name(function, owner, key):
    text = ctypes.create_string_buffer(1024)
    function(owner, key, ctypes.c_size_t(1024), text, None)
    return text.value.decode(errors="replace")
everything = ctypes.c_ulong(0xFFFFFFFF)
print(json.dumps([
    [name(cl.clGetPlatformInfo, platform, 0x0902),
     [name(cl.clGetDeviceInfo, device, 0x102B) for device in ids(cl.clGetDeviceIDs, platform, everything)]]
    for platform in ids(cl.clGetPlatformIDs)
]))
"""


STRING = kinds.instance("string", "a string", str)
FOLDERS = kinds.optional(kinds.instance("string", "a string of folders, separated by colons", str))


@kinds.checked(cxx=STRING)
def compiler(cxx: str = "g++") -> Finding:
    """The C++ compiler that theano calls: `cxx`, a name or path."""
    name = os.path.basename(cxx) or "g++"
    path = shutil.which(cxx) if cxx else None
    if path is None:
        why = f"{cxx!r} is not an executable on PATH" if cxx else "cxx is empty, so theano could not compile"
        remedy = "apt-get install g++" if cxx == "g++" else "leave cxx unset and apt-get install g++"
        return Finding(name, False, why=why, remedy=remedy)
    child = subprocess.run([path, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        return Finding(name, False, path=path, why=f"{path} does not run ({last})", remedy="apt-get install g++")
    return Finding(name, True, child.stdout.strip(), path)


def headers() -> Finding:
    """Python.h of the running interpreter."""
    path = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    if os.path.isfile(path):
        return Finding("Python's headers", True, sys.version.split()[0], path)
    return Finding(
        "Python's headers",
        False,
        why=f"{path} does not exist",
        remedy=f"apt-get install python{PYTHON}-dev",
    )


def blas() -> Finding:
    """The float32 BLAS that Theano links by default: the OpenBLAS in numpy's or scipy's wheel, else the system's.

    numpy's comes first, because if both wheels contain the same library, the loader uses the copy that is loaded first.
    """
    for package in ("numpy", "scipy"):
        spec = importlib.util.find_spec(package)
        origin = spec.origin if spec else None
        folder = pathlib.Path(origin).parent.parent / f"{package}.libs" if origin else pathlib.Path()
        for library in sorted([*folder.glob("libopenblas*.so"), *folder.glob("libscipy_openblas*.so")]):
            # "64_" in a name means 64-bit integers, with other names of the functions.
            if "64_" not in library.name:
                return Finding("BLAS", True, f"OpenBLAS {_openblas_version(library)}".strip(), str(library))
    system = find_library("libopenblas.so")
    if system:
        return Finding("BLAS", True, "OpenBLAS (system)", system)
    return Finding(
        "BLAS",
        False,
        why="scipy is not installed from its wheel, which contains one, and there is no libopenblas.so",
        remedy=f"pip install {SCIPY}, or apt-get install libopenblas-dev, or set blas.ldflags in THEANO_FLAGS",
    )


def _openblas_version(library: pathlib.Path) -> str:
    """From the name of the file, or, where the wheel gives it another one, from what is compiled into it."""
    named = re.search(r"\.(\d+\.\d+)\.so$", library.name)
    if named:
        return f"0.{named[1]}"
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        compiled = re.search(rb"OpenBLAS (\d+\.\d+\.\d+)", content)
        return compiled[1].decode() if compiled else ""


def onednn() -> Finding:
    """oneDNN's library and headers, from PyPI's wheels, and a processor that it has fast kernels for."""
    found = onednn_library.missing() or onednn_library.locate()
    if isinstance(found, onednn_library.Missing):
        return Finding("oneDNN", False, why=found.why, remedy=f"{found.remedy}, or take the profile 'cpu-blas'")
    return Finding("oneDNN", True, found.version, found.library)


def pygpu() -> Finding:
    """pygpu, the Python binding of Theano's GPU array library, in this environment or from Debian's package."""
    name = "pygpu"
    spec = importlib.util.find_spec("pygpu")
    if spec is not None and spec.origin is not None:
        folder = pathlib.Path(spec.origin).parent
        if not (folder / "_version.py").is_file():
            why = f"{spec.origin}, which is first on Python's path, is another module of that name"
            return Finding(name, False, path=spec.origin, why=why, remedy="rename it, or start in another folder")
    else:
        folder = debian_pygpu.DIST_PACKAGES / "pygpu"
        if not folder.is_dir():
            return Finding(name, False, why="it is not installed", remedy=f"{APT} python3-pygpu ({ELSEWHERE})")
        if not debian_pygpu.built_for_this_python():
            return Finding(
                name,
                False,
                path=str(folder),
                why=f"the system's package is not built for Python {PYTHON}",
                remedy="run `fastvae build-pygpu`, or the Python that it is built for (Debian 12: Python 3.11)",
            )
        for needed in debian_pygpu.NAMES[1:]:
            if importlib.util.find_spec(needed) is None and not (debian_pygpu.DIST_PACKAGES / needed).is_dir():
                return Finding(name, False, why=f"it needs {needed}", remedy=f"{APT} python3-{needed}")
    version = re.search(r'"version": "([^"]+)"', (folder / "_version.py").read_text())
    return Finding(name, True, version[1] if version else "", str(folder))


def gpuarray_headers() -> Finding:
    """libgpuarray's headers and link library, which Theano's GPU Ops are compiled with."""
    prefixes = (sys.prefix, "/usr/local", "/usr")
    header = any(os.path.isfile(f"{prefix}/include/gpuarray/array.h") for prefix in prefixes)
    own = f"{sys.prefix}/lib/libgpuarray.so"  # where Theano looks first
    library = own if os.path.exists(own) else find_library("libgpuarray.so")
    if header and library:
        return Finding("libgpuarray", True, version_of(library), library)
    return Finding(
        "libgpuarray",
        False,
        why="gpuarray/array.h or libgpuarray.so does not exist",
        remedy=f"{APT} libgpuarray-dev ({ELSEWHERE})",
    )


def clblast() -> Finding:
    """CLBlast, the BLAS of OpenCL devices, under the name that libgpuarray opens."""
    path = find_library("libclblast.so")
    if path:
        return Finding("CLBlast", True, version_of(path), path)
    return Finding("CLBlast", False, why="libclblast.so does not exist", remedy=f"{APT} libclblast-dev")


@kinds.checked(device=kinds.optional(kinds.text))
def opencl(device: str | None = None) -> Finding:
    """OpenCL: its loader, and a platform with any device, or with the given one, such as ``"opencl0:0"``."""
    loader = find_library("libOpenCL.so")
    if loader is None:
        packages = "ocl-icd-opencl-dev" + " pocl-opencl-icd" * (not any(VENDORS.glob("*.icd")))
        return Finding("OpenCL", False, why="libOpenCL.so does not exist", remedy=f"{APT} {packages}")
    output, failure = ask(_OPENCL_PROBE)
    if failure:
        return Finding("OpenCL", False, path=loader, why=failure, remedy=f"{APT} ocl-icd-opencl-dev pocl-opencl-icd")
    found = {
        f"opencl{p}:{d}": f"{platform}, {name}"
        for p, (platform, names) in enumerate(json.loads(output))
        for d, name in enumerate(names)
    }
    if not found:
        why = f"no platform with a device (no working driver in {VENDORS})"
        remedy = f"install the device's OpenCL driver; for OpenCL on the CPU: {APT} pocl-opencl-icd"
        return Finding("OpenCL", False, path=loader, why=why, remedy=remedy)
    listed = "; ".join(f"{key} is {value}" for key, value in found.items())
    if device is not None and device not in found:
        why = f"there is no device {device!r} ({listed})"
        return Finding("OpenCL", False, path=loader, why=why, remedy=f"THEANO_FLAGS=device={next(iter(found))}")
    return Finding("OpenCL", True, found[device] if device else listed, loader)


# What each family of devices needs besides g++, Python's headers, a BLAS and CUDA: checks that take the device's name.
REQUIREMENTS: dict[str, tuple[Callable[[str], Finding], ...]] = {
    "cpu": (),
    "cuda": (lambda device: pygpu(), lambda device: gpuarray_headers()),
    "opencl": (
        lambda device: pygpu(),
        lambda device: gpuarray_headers(),
        lambda device: clblast(),
        lambda device: opencl(None if device == "opencl" else device),
    ),
}


@kinds.checked(device=STRING)
def family(device: str) -> str | None:
    """The family of one of Theano's device names, or None if it is not the name of a device.

    Examples
    --------
    >>> family("cpu"), family("cuda1"), family("opencl0:0"), family("gpu")
    ('cpu', 'cuda', 'opencl', None)
    """
    if device == "cpu":
        return device
    return next((name for name in ("cuda", "opencl") if device.startswith(name)), None)


def _device(value: str) -> str:
    if family(value) is None:
        raise ValueError
    return value


DEVICE = kinds.Kind("device", "one of theano's devices: cpu, cuda, cuda1, opencl or opencl0:0", _device)


@kinds.checked(device=DEVICE, cuda_path=FOLDERS)
def missing_for(device: str, cuda_path: str | None = None) -> list[Finding]:
    """What is missing on this machine to compute on a device.

    Parameters
    ----------
    device : str
        Theano's name, such as ``"cuda1"``; ``"opencl"`` means any OpenCL device.
    cuda_path : str, optional
        Folders to search for CUDA's libraries, as for `cuda_search.candidates`.

    Returns
    -------
    list of Finding
        Empty if nothing is missing.
    """
    kind = family(device) or ""
    cuda = cuda_libraries.missing(device, cuda_path) if kind == "cuda" else []
    return cuda + [finding for check in REQUIREMENTS[kind] if not (finding := check(device)).found]


@kinds.checked(cuda_path=FOLDERS)
def report(cuda_path: str | None = None) -> list[Finding]:
    """Every check of this machine, in the order CPU, OpenCL, CUDA.

    Parameters
    ----------
    cuda_path : str, optional
        As for `missing_for`.

    Returns
    -------
    list of Finding
    """
    checks = (compiler, headers, blas, onednn, pygpu, gpuarray_headers, clblast, opencl)
    cuda = [*cuda_libraries.find(cuda_path=cuda_path), cuda_libraries.nccl(cuda_path)]
    return [*(check() for check in checks), *cuda]


@kinds.checked(cuda_path=FOLDERS)
def describe(cuda_path: str | None = None) -> str:
    """The report as text, one line for each check.

    Parameters
    ----------
    cuda_path : str, optional
        As for `missing_for`.

    Returns
    -------
    str
    """
    return "\n".join(map(str, report(cuda_path)))
