"""CUDA as libgpuarray needs it: the driver with a device, nvrtc and cuBLAS; and cuDNN.

libgpuarray opens the plain names ``libcuda.so``, ``libnvrtc.so`` and ``libcublas.so``. A library that is here
only under a versioned name (NVIDIA's wheels carry ``libnvrtc.so.12``) is therefore reported as missing,
with where it is and how to give it the plain name.
"""
import glob
import importlib.metadata
import json
import os
import pathlib
import site
import sysconfig

from fastvae.devices.findings import Finding, ask, find_library, version_of

TOOLKIT = "install NVIDIA's CUDA toolkit (apt-get install nvidia-cuda-toolkit)"

# Asks the driver for its version and its devices (name, compute capability), one JSON object on standard output.
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


def cuda(device="cuda"):
    """NVIDIA's driver, and the device that `device` names: ``"cuda"`` (the first) or ``"cuda1"``."""
    name = "CUDA driver"
    path = find_library("libcuda.so.1")
    if path is None:
        remedy = "on a machine with an NVIDIA GPU install its driver (apt-get install nvidia-driver)"
        return Finding(name, False, why="libcuda.so.1 does not exist", remedy=remedy)
    output, failure = ask(_PROBE)
    answer = json.loads(output) if output else {}
    failure = failure or answer["error"]
    if failure or not answer["devices"]:
        why = failure or "the driver sees no device"
        return Finding(name, False, path=path, why=why, remedy="make nvidia-smi list a GPU, then try again")
    version = f"{answer['version'] // 1000}.{answer['version'] % 1000 // 10}"
    listed = "; ".join(f"cuda{i} is {d[0]} ({d[1]}.{d[2]})" for i, d in enumerate(answer["devices"]))
    number = device.removeprefix("cuda") or "0"
    if not number.isdigit() or int(number) >= len(answer["devices"]):
        why = f"there is no device {device!r} ({listed})"
        return Finding(name, False, version, path, why, "THEANO_FLAGS=device=cuda0")
    model, major, minor = answer["devices"][int(number)]
    if major >= 10:
        why = f"{model} has compute capability {major}.{minor}, and libgpuarray 0.7.6 stops at 9.x"
        return Finding(name, False, version, path, why, "use a GPU up to Hopper, or the profile cpu")
    if find_library("libcuda.so") is None:
        return Finding(name, False, version, path, *_needs_plain_name("libcuda.so", path, TOOLKIT))
    return Finding(name, True, f"{version}; {listed}", path)


def nvrtc():
    """NVIDIA's run-time compiler."""
    return _library("nvrtc", "libnvrtc.so", "nvidia-cuda-nvrtc-cu12")


def cublas():
    """NVIDIA's BLAS."""
    return _library("cuBLAS", "libcublas.so", "nvidia-cublas-cu12")


def cudnn():
    """NVIDIA's convolution library, version 9."""
    path = find_library("libcudnn.so.9", _wheel_folders())
    if path is None:
        remedy = "pip install nvidia-cudnn-cu12==9.10.2.21"
        return Finding("cuDNN", False, why="libcudnn.so.9 does not exist", remedy=remedy)
    return Finding("cuDNN", True, _version(path, "nvidia-cudnn-cu12"), path)


CHECKS = (cuda, nvrtc, cublas, cudnn)


def _library(name, plain, distribution):
    path = find_library(plain, glob.glob("/usr/local/cuda*/lib64"))
    loadable = find_library(plain)
    if loadable:
        return Finding(name, True, _version(loadable, distribution), loadable)
    for folder in _wheel_folders():
        path = path or next(iter(sorted(glob.glob(f"{folder}/{plain}.[0-9]*"))), None)
    path = path or next((found for major in (13, 12) if (found := find_library(f"{plain}.{major}"))), None)
    if path:
        return Finding(name, False, _version(path, distribution), path, *_needs_plain_name(plain, path, TOOLKIT))
    return Finding(name, False, why=f"{plain} does not exist", remedy=TOOLKIT)


def _needs_plain_name(plain, path, otherwise):
    why = f"libgpuarray opens {plain}, and the loader finds only {path}"
    remedy = f"start Python with a folder in LD_LIBRARY_PATH that holds a link {plain} -> {path}, or {otherwise}"
    return why, remedy


def _wheel_folders():
    """Where NVIDIA's wheels put their libraries: site-packages/nvidia/*/lib."""
    roots = dict.fromkeys([sysconfig.get_paths()["purelib"], *site.getsitepackages()])
    return [folder for root in roots for folder in sorted(glob.glob(os.path.join(root, "nvidia", "*", "lib")))]


def _version(path, distribution):
    """From the file's name, or from the wheel that it came in: wheels name the major version only."""
    if pathlib.Path(path).parents[2].name == "nvidia":
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return version_of(path)
    return version_of(path)
