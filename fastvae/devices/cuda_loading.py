"""Load the chosen CUDA libraries into this process, so that libgpuarray uses these and no others.

libgpuarray opens ``libcuda.so``, ``libnvrtc.so`` and ``libcublas.so``, but NVIDIA's wheels contain ``libnvrtc.so.12``
and so on. So each gets a shim: an empty library whose own name (SONAME) is the plain one, and which depends on the
numbered one. Once it is loaded, the dynamic loader returns it for ``dlopen("libnvrtc.so")``, and finds the symbols in
the library behind it.

    load        driver, nvrtc with its builtins, cuBLAS and cuDNN, each after what it depends on
    load_nccl   NCCL, where ranks train on GPUs
    strictness  a profile's value of NVIDIA_TF32_OVERRIDE, which NVIDIA's libraries read when they start
"""

from __future__ import annotations

import ctypes
import glob
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from fastvae.devices.findings import Finding
from fastvae.errors import ProfileError, StackError

OVERRIDE = "NVIDIA_TF32_OVERRIDE"
TF32 = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c_code", "cublas_tf32.c")
CARRIED = os.path.join("share", "fastvae", "shims")  # below sys.prefix

# A symbol that tells whether the library under a plain name is the right one.
_PLAIN = {
    "libcuda.so": "cuInit",
    "libnvrtc.so": "nvrtcVersion",
    "libcublas.so": "cublasCreate_v2",
    "libnccl.so": "ncclGroupStart",
}


def load(findings: Sequence[Finding], cxx: str = "g++", tf32: bool = False) -> None:
    """Load the driver, nvrtc, cuBLAS and cuDNN, with a shim for each plain name that libgpuarray opens.

    Parameters
    ----------
    findings : list of Finding
        What `cuda_libraries.find` returned, all of it found.
    cxx : str
        The C compiler that makes the shims.
    tf32 : bool
        Whether cuBLAS may use tensor cores. It does not by itself, so its shim then creates handles that allow it.

    Raises
    ------
    StackError
        If a shim does not compile, or a library does not load.
    """
    driver, nvrtc, cublas, cudnn = (finding.path for finding in findings)
    with tempfile.TemporaryDirectory() as folder:
        _open(driver)
        _shim("libcuda.so", driver, folder, cxx)
        _beside(nvrtc, "libnvrtc-builtins.so.[0-9]*")
        _open(nvrtc)
        _shim("libnvrtc.so", nvrtc, folder, cxx)
        _beside(cublas, "libcublasLt.so.[0-9]*")
        _open(cublas)
        _shim("libcublas.so", cublas, folder, cxx, TF32 if tf32 else os.devnull)
        _open(cudnn)


def load_nccl(path: str, cxx: str = "g++") -> ctypes.CDLL:
    """Load NCCL, with a shim for the plain name that libgpuarray opens.

    Parameters
    ----------
    path : str
        Of libnccl.so.2.
    cxx : str
        As for `load`.

    Returns
    -------
    ctypes.CDLL

    Raises
    ------
    StackError
        As `load` does.
    """
    library = _open(path)
    with tempfile.TemporaryDirectory() as folder:
        _shim("libnccl.so", path, folder, cxx)
    return library


def strictness(tf32: bool, environ: Mapping[str, str] | None = None) -> str:
    """The value of NVIDIA_TF32_OVERRIDE: "0" keeps NVIDIA's libraries in full float32, whatever else they are told.

    Raises
    ------
    ProfileError
        If the environment already asks for the opposite.

    Examples
    --------
    >>> strictness(tf32=False, environ={})
    '0'
    """
    wanted = "1" if tf32 else "0"
    given = (os.environ if environ is None else environ).get(OVERRIDE, wanted)
    if given != wanted:
        profile, other = ("cuda-tf32", "cuda") if tf32 else ("cuda", "cuda-tf32")
        raise ProfileError(
            f"{OVERRIDE}={given!r} contradicts the profile {profile!r}, which sets {wanted!r}: unset it, or take the "
            f"profile {other!r}"
        )
    return wanted


def _open(path: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise StackError(f"{path} does not load ({error}): see `fastvae devices`") from None


def _beside(path: str, pattern: str) -> None:
    for one in sorted(glob.glob(os.path.join(os.path.dirname(path), pattern))):
        _open(one)


def _shim(plain: str, path: str, folder: str, cxx: str, source: str = os.devnull) -> None:
    """Load the library of the plain name that depends on the one at `path`, which is already loaded.

    It is made, unless this environment carries it (`bench/make_bundle.py`).
    """
    shim = os.path.join(sys.prefix, CARRIED, shim_name(plain, path, source))
    if not os.path.exists(shim):
        shim = os.path.join(folder, plain)
        make_shim(plain, path, shim, cxx, source)
    _open(shim)
    if not hasattr(_open(plain), _PLAIN[plain]):
        raise StackError(f"another {plain} than {path} was loaded before fastvae: start a new process without it")


def shim_name(plain: str, path: str, source: str = os.devnull) -> str:
    """The file's name in an environment that carries the shim of a plain name for the library at `path`."""
    return "-".join([plain, os.path.basename(path), *(["tf32"] if source == TF32 else [])])


def make_shim(plain: str, path: str, shim: str, cxx: str = "g++", source: str = os.devnull) -> None:
    """Compile a shim of a plain name to a file; of the library at `path`, it takes the name alone.

    Raises
    ------
    StackError
        If the compiler fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        numbered = os.path.join(folder, os.path.basename(path))
        _compile(cxx, numbered, os.path.basename(path), os.devnull)
        _compile(cxx, shim, plain, source, numbered, f'-DCUBLAS="{os.path.basename(path)}"')


def _compile(cxx: str, library: str, own_name: str, source: str, *more: str) -> None:
    """Compile a C file, often an empty one, to a library; `more` are the libraries that it needs, and options."""
    command = [cxx, "-shared", "-fPIC", "-x", "c", source, "-x", "none", "-Wl,--no-as-needed", *more, "-ldl"]
    command += [f"-Wl,-soname,{own_name}", "-o", library]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise StackError(f"a shim for {library} did not compile with {cxx!r}: {' '.join(done.stderr.split())[-500:]}")
