"""The tests' device without the stack above it: PTX or CUDA C, launched through the driver by ctypes."""

import ctypes
import os

import numpy as np

from fastvae.devices import cuda_search

HEADER = ".version 8.8\n.target sm_90\n.address_size 64\n"


class DriverError(Exception):
    """A call of the driver did not return 0."""


class Device:
    """A driver of its own, with its own memory and streams.

    `settings` are the TEST_DEVICE_ variables that it starts under, without that prefix.
    """

    def __init__(self, driver, folder, **settings):
        # Another file is another instance; under another name it is not the one that cuBLAS and cuDNN call.
        path = folder / f"device{len(list(folder.iterdir()))}.so"
        path.write_bytes(driver.read_bytes().replace(b"libcuda.so.1\0", b"another.so.1\0"))
        names = {f"TEST_DEVICE_{name}": str(value) for name, value in settings.items()}
        kept = {name: value for name, value in os.environ.items() if name.startswith("TEST_DEVICE_")}
        for name in kept:
            del os.environ[name]
        os.environ.update(names)
        self.library = ctypes.CDLL(str(path))
        for name in names:
            del os.environ[name]
        os.environ.update(kept)

    def call(self, function, *arguments):
        status = getattr(self.library, function)(*arguments)
        if status:
            raise DriverError(f"{function}: {status}")

    def allocate(self, size):
        """The address of fresh memory."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address):
        self.call("cuMemFree_v2", ctypes.c_uint64(address))

    def pinned(self, shape, dtype="float32"):
        """An array in pinned memory."""
        address, dtype = ctypes.c_void_p(), np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        self.call("cuMemAllocHost_v2", ctypes.byref(address), ctypes.c_size_t(size))
        buffer = (ctypes.c_char * size).from_address(address.value)
        return np.frombuffer(buffer, dtype).reshape(shape)

    def upload(self, array):
        """The address of a copy of the array."""
        array = np.ascontiguousarray(array)
        address = self.allocate(array.nbytes)
        self.copy_in(address, array)
        return address

    def copy_in(self, address, array):
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), array.ctypes.data_as(ctypes.c_void_p), _size(array))

    def copy_in_later(self, address, array, stream=None):
        data = array.ctypes.data_as(ctypes.c_void_p)
        self.call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), data, _size(array), stream)

    def copy_out_later(self, array, address, stream=None):
        data = array.ctypes.data_as(ctypes.c_void_p)
        self.call("cuMemcpyDtoHAsync_v2", data, ctypes.c_uint64(address), _size(array), stream)

    def download(self, address, like):
        """An array like that one from an address."""
        array = np.empty_like(like)
        self.copy_out_later(array, address)
        return array

    def module(self, ptx):
        module = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), ptx.encode())
        return module

    def function(self, module, name):
        function = ctypes.c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        return function

    def kernel(self, ptx, name="kernel"):
        return self.function(self.module(ptx), name)

    def launch(self, kernel, grid, block, *arguments, shared=0, stream=None):
        """Launch a kernel: addresses and other integers are 64 bits, everything else is numpy's or ctypes' scalar."""
        kept = [ctypes.c_uint64(a) if isinstance(a, int) else a for a in arguments]
        kept = [np.asarray(a).ctypes if isinstance(a, np.generic) else a for a in kept]
        places = [a.data if hasattr(a, "data") and hasattr(a, "shape") else ctypes.addressof(a) for a in kept]
        values = (ctypes.c_void_p * len(places))(*places)
        sizes = (*_three(grid), *_three(block), shared)
        self.call("cuLaunchKernel", kernel, *map(ctypes.c_uint, sizes), stream, values, None)

    def stream(self, blocking=True):
        stream = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(stream), 0 if blocking else 1)
        return stream

    def event(self):
        event = ctypes.c_void_p()
        self.call("cuEventCreate", ctypes.byref(event), 0)
        return event

    def synchronize(self):
        self.library.device_finish()

    def findings(self):
        self.synchronize()
        text = ctypes.create_string_buffer(1 << 16)
        self.library.device_findings(text, ctypes.c_size_t(len(text)))
        return text.value.decode().splitlines()


def _size(array):
    return ctypes.c_size_t(array.nbytes)


def _three(sizes):
    sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    return sizes + (1,) * (3 - len(sizes))


def compiled(source, version=12):
    """CUDA C to PTX by the real nvrtc of a version; functions are `extern "C"`."""
    path = next(path for path in cuda_search.candidates("nvrtc") if path.endswith(f".{version}"))
    folder, _ = os.path.split(path)
    for name in sorted(os.listdir(folder)):
        if name.startswith("libnvrtc-builtins.so") and name.split(".so.")[1].split(".")[0] == str(version):
            ctypes.CDLL(os.path.join(folder, name))
    nvrtc, program = ctypes.CDLL(path), ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"test.cu", 0, None, None)
    status = nvrtc.nvrtcCompileProgram(program, 2, (ctypes.c_char_p * 2)(b"-arch=compute_90", b"--device-int128"))
    if status:
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        raise ValueError(log.value.decode())
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return ptx.value.decode()
