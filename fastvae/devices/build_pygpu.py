"""Build pygpu and libgpuarray 0.7.6 for this environment if no system package fits (`fastvae build-pygpu`).

    build       fetches, compiles and installs; nothing in the environment changes before the last step, one wheel
    fetched     the source archive, with its checksum verified

libgpuarray is compiled with CMake in a temporary folder, and pygpu against it with a Cython of its own. Library and
headers are part of pygpu's wheel, which pip unpacks into the environment's `lib/` and `include/`, where Theano and
fastvae look for them; `pip uninstall pygpu` removes everything.

Examples
--------
>>> URL.startswith("https://"), len(SHA256)
(True, 64)
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Mapping

from fastvae import devices
from fastvae.errors import ConfigurationError, StackError
from fastvae.files import open_regular

VERSION = "0.7.6"
URL = f"https://github.com/Theano/libgpuarray/archive/v{VERSION}.tar.gz"
SHA256 = "ad1c00dd47c3d36ee1708e5167377edbfcdb7226e837ef9c68b841afbb4a4f6a"
TOOLS = ("cmake==3.31.6", "ninja==1.11.1.4", "mako")  # CMake 4 rejects libgpuarray's files
NEEDS = ("mako", "six")  # what pygpu imports besides numpy
BY_HAND = f"download {URL} in another way and pass it as --source FILE"
PATIENCE = 60  # seconds to wait for an answer from the network

# Cython 3 rejects pygpu's sources, and they must be compiled for the numpy that they will run with. The legacy backend
# lets setup.py import a module beside it.
_PYPROJECT = """[build-system]
requires = ["setuptools=={setuptools}", "wheel==0.45.1", "Cython==0.29.37", "numpy=={numpy}"]
build-backend = "setuptools.build_meta:__legacy__"
"""
# numpy.distutils needs the older one, Python 3.12 the newer one.
SETUPTOOLS = "65.7.0" if sys.version_info < (3, 12) else "75.8.0"
# Names that setup.py uses and Python no longer has, put before its first line.
_NAMES = """import configparser
configparser.SafeConfigParser = configparser.ConfigParser
configparser.ConfigParser.readfp = configparser.ConfigParser.read_file
"""
# What the C code that Cython 0.29 makes uses, and Python 3.13 no longer has, or with one more argument.
_HEADER = """#include <Python.h>
#if PY_VERSION_HEX >= 0x030d0000
#define _PyInterpreterState_GetConfig(interpreter) (&(struct { int optimization_level; }){Py_OptimizeFlag})
#define _PyLong_AsByteArray(v, bytes, n, little, is_signed) _PyLong_AsByteArray(v, bytes, n, little, is_signed, 1)
#endif
"""
# What numpy 2 refuses in gpuarray.pyx, where no copy means none but where one is needed, as it takes it.
_NUMPY2 = {
    "ndmin=ndmin, copy=False)": "ndmin=ndmin, copy=None)",
    "def __array__(self, ldtype=None):": "def __array__(self, ldtype=None, copy=None):",
}
# pygpu uses a name of numpy that `import fastvae` puts back before pygpu is imported.
_TRY = "import numpy; vars(numpy).setdefault('bool', bool); import pygpu; print(pygpu.__path__[0])"
_DATA_FILES = """
[options.data_files]
lib = lib/libgpuarray.so, lib/libgpuarray.so.3
include/gpuarray = src/gpuarray/*.h
"""


def build(source: str | os.PathLike[str] | None = None, say: Callable[[str], object] = print) -> str:
    """Build and install libgpuarray and pygpu.

    Parameters
    ----------
    source : path-like, optional
        The archive of `URL`; by default it is fetched from there.
    say : callable
        Called with one line of text for each thing that is done.

    Returns
    -------
    str
        Where pygpu is.

    Raises
    ------
    ConfigurationError
        If `source` cannot be read, or is another archive.
    StackError
        If g++, Python's headers, numpy, pip or the network is missing, or something does not compile. The environment
        is then unchanged.

    Notes
    -----
    Not for Debian 12 with its own Python: `apt-get install python3-pygpu libgpuarray-dev` needs no compiler.
    """
    _check_requirements()
    with tempfile.TemporaryDirectory(prefix="fastvae-pygpu-") as temporary:
        folder = pathlib.Path(temporary)
        say(f"fetching {URL}" if source is None else f"reading {source}")
        tree = _unpacked(fetched(source), folder)
        say(f"compiling libgpuarray and pygpu {VERSION}, a minute or two")
        where = _install(_compile(tree, folder), folder)
    say(f"pygpu {VERSION}: installed in {where}")
    return where


def fetched(source: str | os.PathLike[str] | None = None) -> bytes:
    """The bytes of the source archive, from a file or from `URL`; checked against `SHA256`.

    Raises
    ------
    ConfigurationError, StackError
        As `build` does.
    """
    if source is None:
        try:
            with urllib.request.urlopen(URL, timeout=PATIENCE) as answer:
                data = answer.read()
        except OSError as error:  # the base of urllib's errors too
            why = f"{URL} cannot be fetched ({getattr(error, 'reason', error)})"
            raise StackError(f"{why}: {BY_HAND}, or take a bundle (docs/tutorials/gpus.md)") from None
    else:
        try:
            with open_regular(source) as file:
                data = file.read()
        except OSError as error:
            raise ConfigurationError(f"--source {str(source)!r} cannot be read ({error.strerror}): {BY_HAND}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise ConfigurationError(f"{str(source or URL)!r} has the SHA-256 {found}, not {SHA256}: {BY_HAND}")
    return data


def _check_requirements() -> None:
    """Raise StackError unless everything that a build needs is there; the network is tried later."""
    lacking = [str(finding) for finding in (devices.compiler(), devices.headers()) if not finding.found]
    if importlib.util.find_spec("pip") is None:
        lacking.append(f"pip: {sys.executable} has none; {sys.executable} -m ensurepip")
    if importlib.util.find_spec("numpy") is None:
        lacking.append("numpy: it is not installed; pip install fastvae")
    if lacking:
        raise StackError(f"pygpu cannot be built: {'. '.join(lacking)}")


def _unpacked(data: bytes, folder: pathlib.Path) -> pathlib.Path:
    archive = folder / "source.tar.gz"
    archive.write_bytes(data)
    with tarfile.open(archive) as tar:
        # Python 3.12 warns without a filter, and the first releases of 3.10 and 3.11 know none.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)
    return folder / f"libgpuarray-{VERSION}"


def _compile(tree: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Compile libgpuarray, and pygpu against it; return the wheel that contains both."""
    tools = folder / "tools"
    _pip("install", "--target", tools, *TOOLS)
    (tools / "bin" / "python").symlink_to(sys.executable)  # libgpuarray's build calls it to write files with mako
    environ = {**os.environ, "PYTHONPATH": str(tools), "PATH": f"{tools / 'bin'}:{os.environ['PATH']}"}
    cmake, made = str(tools / "bin" / "cmake"), str(folder / "made")
    _call([cmake, "-G", "Ninja", "-S", str(tree), "-B", made, "-DCMAKE_BUILD_TYPE=Release"], environ)
    _call([cmake, "--build", made, "--target", "gpuarray"], environ)
    numpy = importlib.metadata.version("numpy")
    (tree / "pyproject.toml").write_text(_PYPROJECT.format(setuptools=SETUPTOOLS, numpy=numpy))
    (tree / "setup.py").write_text(_NAMES + (tree / "setup.py").read_text())
    module = tree / "pygpu" / "gpuarray.pyx"
    source = module.read_text()
    for old, new in _NUMPY2.items() if numpy.startswith("2.") else ():
        source = source.replace(old, new)
    module.write_text(source)
    with open(tree / "setup.cfg", "a") as settings:
        settings.write(_DATA_FILES)
    (tree / "python.h").write_text(_HEADER)
    # The extensions will look for the library in the environment's lib/, three folders above site-packages/pygpu.
    environ = {
        **os.environ,
        "CPATH": str(tree / "src"),
        "CFLAGS": f"{os.environ.get('CFLAGS', '')} -include {tree / 'python.h'}",
        "LIBRARY_PATH": str(tree / "lib"),
        "LDFLAGS": "-Wl,-rpath,$ORIGIN/../../..",
    }
    _pip("wheel", "--no-deps", "--wheel-dir", folder, tree, environ=environ)
    (wheel,) = folder.glob("pygpu-*.whl")
    return wheel


def _install(wheel: pathlib.Path, folder: pathlib.Path) -> str:
    """Install the wheel, and remove it again if it cannot be imported; return where pygpu is."""
    _pip("install", *NEEDS)
    _pip("install", "--force-reinstall", "--no-deps", wheel)
    try:
        return _call([sys.executable, "-c", _TRY], cwd=folder).strip()
    except StackError:
        _pip("uninstall", "--yes", "pygpu")
        raise


def _pip(verb: str, *arguments: object, environ: Mapping[str, str] | None = None) -> str:
    """Run this environment's pip."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", verb, "-q"]
    return _call([*pip, *map(str, arguments)], environ)


def _call(command: list[str], environ: Mapping[str, str] | None = None, cwd: pathlib.Path | None = None) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        lines = f"{done.stdout}\n{done.stderr}\nexit status {done.returncode}".splitlines()
        telling = next((line for line in lines if "error:" in line.lower() and "subprocess" not in line), lines[-1])
        raise StackError(f"pygpu was not installed: `{' '.join(command[:6])} ...` failed: {telling.strip()[-500:]}")
    return done.stdout
