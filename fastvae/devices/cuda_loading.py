"""Load the chosen CUDA libraries into this process so that libgpuarray takes them, and no others.

libgpuarray opens ``libcuda.so``, ``libnvrtc.so`` and ``libcublas.so``; NVIDIA's wheels carry ``libnvrtc.so.12`` and so
on. A shim is an empty library whose own name (SONAME) is the plain one and which needs the numbered one: once it is
loaded, the dynamic loader answers ``dlopen("libnvrtc.so")`` with it, and finds the symbols in the library behind it.

    load        driver, nvrtc with its builtins, cuBLAS and cuDNN in the order in which each finds what it needs
    strictness  NVIDIA_TF32_OVERRIDE for a profile, which NVIDIA's libraries read when they start
"""

import ctypes
import glob
import os
import subprocess
import tempfile

from fastvae.errors import ProfileError, StackError

OVERRIDE = "NVIDIA_TF32_OVERRIDE"
TF32 = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c_code", "cublas_tf32.c")

# A symbol by which libgpuarray's library is known under its plain name.
_PLAIN = {"libcuda.so": "cuInit", "libnvrtc.so": "nvrtcVersion", "libcublas.so": "cublasCreate_v2"}


def load(findings, cxx="g++", tf32=False):
    """Load the driver, nvrtc, cuBLAS and cuDNN, with a shim for each plain name that libgpuarray opens.

    Parameters
    ----------
    findings : list of Finding
        All found, in the order of `cuda_libraries.find`.
    cxx : str
        The C compiler that makes the shims.
    tf32 : bool
        Whether cuBLAS may take tensor cores, for which its shim makes the handles; by itself it takes none.

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


def strictness(tf32, environ=None):
    """The value of NVIDIA_TF32_OVERRIDE: with "0" NVIDIA's libraries stay in full float32 whatever they are told.

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


def _open(path):
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise StackError(f"{path} does not load ({error}): see `fastvae devices`") from None


def _beside(path, pattern):
    for one in sorted(glob.glob(os.path.join(os.path.dirname(path), pattern))):
        _open(one)


def _shim(plain, path, folder, cxx, source=os.devnull):
    """Make and load the library of the plain name that needs the one at `path`, which is loaded already."""
    numbered = os.path.join(folder, os.path.basename(path))
    shim = os.path.join(folder, plain)
    _compile(cxx, numbered, os.devnull)
    _compile(cxx, shim, source, numbered, f'-DCUBLAS="{os.path.basename(path)}"')
    _open(shim)
    if not hasattr(_open(plain), _PLAIN[plain]):
        raise StackError(f"another {plain} than {path} was loaded before fastvae: start a new process without it")


def _compile(cxx, library, source, *more):
    """A library of one C file, mostly an empty one, under its own name; `more` are the libraries that it needs."""
    command = [cxx, "-shared", "-fPIC", "-x", "c", source, "-x", "none", "-Wl,--no-as-needed", *more, "-ldl"]
    command += [f"-Wl,-soname,{os.path.basename(library)}", "-o", library]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise StackError(f"a shim for {library} did not compile with {cxx!r}: {' '.join(done.stderr.split())[-500:]}")
