"""CUDA as libgpuarray and fastvae's convolutions need it: the driver with a device, nvrtc, cuBLAS and cuDNN.

    find        the driver, and the libraries that go with it, as findings
    missing     those of them that are not available
    nccl        the library by which ranks average on GPUs; a training on one GPU does without

libgpuarray passes the PTX that nvrtc makes to the driver, so nvrtc must not be newer than the driver; and it writes an
architecture with two digits, so Hopper (9.0) is the last that it knows. cuBLAS and cuDNN must belong to nvrtc's major
version of CUDA.

Examples
--------
>>> [finding.name for finding in find()]
['CUDA driver', 'nvrtc', 'cuBLAS', 'cuDNN']
"""

from __future__ import annotations

import functools
import json
import os
from typing import NamedTuple

from fastvae.devices import cuda_search
from fastvae.devices.cuda_search import asked, candidates
from fastvae.devices.findings import Finding, ask, find_library

# What `pip install .[cuda]` installs: for Turing to Hopper (7.5 to 9.0) and drivers from CUDA 12.9 on (575 or later).
PINS = {
    "nvrtc": "nvidia-cuda-nvrtc-cu12==12.9.86",
    "cublas": "nvidia-cublas-cu12==12.9.1.4",
    "cudnn": "nvidia-cudnn-cu12==9.10.2.21",
    "nccl": "nvidia-nccl-cu12==2.27.5",  # by `pip install .[nccl]`
}
NAMES = {"nvrtc": "nvrtc", "cublas": "cuBLAS", "cudnn": "cuDNN", "nccl": "NCCL"}
OLDEST_DRIVER = 12000  # what cuBLAS 12 and cuDNN 9 need

# Asks the driver for its version and its devices (name, compute capability); prints a JSON object.
_PROBE = """
import ctypes, json
cuda = ctypes.CDLL("libcuda.so.1")
def number(function, *arguments):
    value = ctypes.c_int()
    status = function(ctypes.byref(value), *arguments)
    return status, value.value
status = cuda.cuInit(0)
text = ctypes.c_char_p()
cuda.cuGetErrorString(status, ctypes.byref(text))
devices = []
for index in range(number(cuda.cuDeviceGetCount)[1] if status == 0 else 0):
    device = number(cuda.cuDeviceGet, index)[1]
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, 256, device)
    devices.append([name.value.decode(), *(number(cuda.cuDeviceGetAttribute, key, device)[1] for key in (75, 76))])
print(json.dumps(dict(
    error=(text.value or b"").decode() if status else "", version=number(cuda.cuDriverGetVersion)[1], devices=devices
)))
"""


class Driver(NamedTuple):
    """The finding, the CUDA that the driver supports, such as (12, 9), a card's capability, "90", and their number."""

    finding: Finding
    version: tuple[int, int] | None = None
    capability: str = ""
    devices: int = 0


def driver(device: str = "cuda") -> Driver:
    """NVIDIA's driver, and the device that `device` names, such as ``"cuda1"``; ``"cuda"`` is the first.

    Returns
    -------
    Driver
    """
    name = "CUDA driver"
    path = find_library("libcuda.so.1")
    if path is None:
        remedy = "on a machine with an NVIDIA GPU install its driver (apt-get install nvidia-driver)"
        return Driver(Finding(name, False, why="libcuda.so.1 does not exist", remedy=remedy))
    output, failure = ask(_PROBE)
    answer = json.loads(output) if output else {}
    failure = failure or answer["error"]
    if failure or not answer["devices"]:
        why = failure or "the driver sees no device"
        return Driver(Finding(name, False, path=path, why=why, remedy="make nvidia-smi list a GPU, then try again"))
    serves = divmod(answer["version"] // 10, 100)
    version = f"{serves[0]}.{serves[1]}"
    listed = "; ".join(f"cuda{i} is {d[0]} ({d[1]}.{d[2]})" for i, d in enumerate(answer["devices"]))
    if answer["version"] < OLDEST_DRIVER:
        why = f"it is too old: it supports CUDA {version}, but cuBLAS 12 and cuDNN 9 need 12.0"
        return Driver(Finding(name, False, version, path, why, "install NVIDIA's driver 575 or later"))
    number = device.removeprefix("cuda") or "0"
    if not number.isdigit() or int(number) >= len(answer["devices"]):
        why = f"there is no device {device!r} ({listed})"
        return Driver(Finding(name, False, version, path, why, "THEANO_FLAGS=device=cuda0"))
    model, major, minor = answer["devices"][int(number)]
    if major >= 10:
        why = f"{model} has compute capability {major}.{minor} (Blackwell or later), but libgpuarray 0.7.6 stops at 9.x"
        return Driver(Finding(name, False, version, path, why, "use a GPU up to Hopper, or the profile cpu"))
    return Driver(Finding(name, True, f"{version}; {listed}", path), serves, f"{major}{minor}", len(answer["devices"]))


def find(device: str = "cuda", cuda_path: str | None = None) -> list[Finding]:
    """The driver, nvrtc, cuBLAS and cuDNN that go together.

    It takes the first nvrtc, in `cuda_search`'s order of places, that is not newer than the driver, compiles for the
    card, and has cuBLAS and cuDNN of its major version; if there is none, the first that compiles. Without a driver the
    libraries are judged by themselves.

    Parameters
    ----------
    device : str
        Theano's name, ``"cuda"`` or ``"cuda1"``.
    cuda_path : str, optional
        As for `cuda_search.candidates`.

    Returns
    -------
    list of Finding
    """
    paths = os.environ.get("LD_LIBRARY_PATH"), os.environ.get(cuda_search.VARIABLE)
    return list(_find(device, cuda_path or None, paths))


@functools.lru_cache(maxsize=8)
def _find(device: str, cuda_path: str | None, paths: tuple[str | None, ...]) -> tuple[Finding, ...]:
    found = driver(device)
    nvrtcs, why = _usable_nvrtcs(found, cuda_path)
    if not nvrtcs:
        finding = Finding("nvrtc", False, why=why[0], remedy=why[1])
        return found.finding, finding, *(_of_major(name, None, cuda_path) for name in ("cublas", "cudnn"))
    sets = ((nvrtc, *(_of_major(name, major, cuda_path) for name in ("cublas", "cudnn"))) for major, nvrtc in nvrtcs)
    first = next(sets)
    return found.finding, *next((s for s in (first, *sets) if all(one.found for one in s)), first)


def missing(device: str = "cuda", cuda_path: str | None = None) -> list[Finding]:
    """What is missing for CUDA; if the driver is, only that is named, because the libraries are chosen to match it.

    Returns
    -------
    list of Finding
    """
    if find_library("libcuda.so.1") is None:
        return [driver(device).finding]
    return [finding for finding in find(device, cuda_path) if not finding.found]


def nccl(cuda_path: str | None = None) -> Finding:
    """NCCL 2, which averages over GPUs what ranks train there.

    Parameters
    ----------
    cuda_path : str, optional
        As for `cuda_search.candidates`.

    Returns
    -------
    Finding
    """
    refused = []
    for path in candidates("nccl", cuda_path):
        answer = asked("nccl", path)
        if not answer.error:
            return Finding(NAMES["nccl"], True, str(answer), path)
        refused.append(f"{path}: {answer.error}")
    why = "; ".join(refused) or "libnccl.so.2 does not exist"
    again = "--force-reinstall " * bool(refused)
    return Finding(NAMES["nccl"], False, why=why, remedy=f"pip install {again}{PINS['nccl']}, for ranks on GPUs alone")


def _usable_nvrtcs(driver: Driver, cuda_path: str | None) -> tuple[list[tuple[int, Finding]], tuple[str, str]]:
    """(major, Finding) of every nvrtc that works with driver and card; and why others do not, with the remedy."""
    usable, refused, only_too_new = [], [], True
    for path in candidates("nvrtc", cuda_path):
        answer = asked("nvrtc", path, driver.capability)
        if driver.version and answer.version > driver.version:
            refused.append(f"nvrtc {answer} ({path}) is newer than the driver, which supports CUDA {_dotted(driver)}")
        elif answer.error:
            only_too_new = False
            refused.append(f"nvrtc {answer} ({path}): {answer.error}")
        else:
            usable.append((answer.cuda, Finding("nvrtc", True, str(answer), path)))
    if not refused:
        return usable, ("libnvrtc.so.12 does not exist", f"pip install {PINS['nvrtc']}")
    if only_too_new and driver.version:
        next_one = f"{driver.version[0]}.{driver.version[1] + 1}"
        return usable, ("; ".join(refused), f"update the driver, or pip install 'nvidia-cuda-nvrtc-cu12<{next_one}'")
    return usable, ("; ".join(refused), f"pip install --force-reinstall {PINS['nvrtc']}")


def _dotted(driver: Driver) -> str:
    return ".".join(map(str, driver.version or ()))


def _of_major(name: str, major: int | None, cuda_path: str | None) -> Finding:
    """The first cuBLAS or cuDNN that belongs to a major version of CUDA, or to any if `major` is None."""
    refused = []
    for path in candidates(name, cuda_path):
        answer = asked(name, path)
        if answer.error:
            refused.append(f"{NAMES[name]} {answer} ({path}): {answer.error}")
        elif name == "cudnn" and answer.version[0] != 9:
            refused.append(f"cuDNN {answer} ({path}) is not version 9")
        elif major is not None and answer.cuda != major:
            refused.append(f"{NAMES[name]} {answer} ({path}) belongs to CUDA {answer.cuda}, and nvrtc to {major}")
        else:
            return Finding(NAMES[name], True, str(answer), path)
    wanted = PINS[name] if major in (None, 12) else _unversioned(PINS[name])
    again = "--force-reinstall " * any("incomplete" in why for why in refused)
    why = "; ".join(refused) or f"{cuda_search.PLAIN[name]}.{9 if name == 'cudnn' else 12} does not exist"
    return Finding(NAMES[name], False, why=why, remedy=f"pip install {again}{wanted}")


def _unversioned(pin: str) -> str:
    """The name of a pinned wheel for CUDA 13: nvidia-cublas without a suffix, but nvidia-cudnn-cu13."""
    stem = pin.split("==")[0].removesuffix("-cu12")
    return f"{stem}-cu13" if stem.endswith("cudnn") else stem
