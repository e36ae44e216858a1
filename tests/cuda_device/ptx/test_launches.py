"""The log of launches tells each operation's grid, its unique bytes and its floating-point operations."""

import numpy as np
import pytest

from tests import cuda_device
from tests.cuda_device import direct

SOURCE = r"""
#define KERNEL extern "C" __global__ void
#define I (blockIdx.x * blockDim.x + threadIdx.x)
KERNEL scaled(float *y, const float *x, const float *scale, int n) { if (I < n) y[I] = fmaf(x[I], *scale, 1.0f); }
KERNEL window(float *y, const float *x) { float s = 0; for (int k = 0; k < 5; k++) s += x[I + k]; y[I / 4 * 4] = s; }
KERNEL bytes(unsigned char *y, const unsigned char *x) { y[2 * I] = x[I] + 1; }
KERNEL shared(float *y) { __shared__ float s[32]; s[threadIdx.x] = 2; __syncthreads(); y[I] = s[31 - threadIdx.x]; }
"""


@pytest.fixture
def logged(new_device, computing_device, tmp_path):
    """Launch a kernel and give its record."""
    log = tmp_path / "log"
    device = new_device(LOG=log)
    module = device.module(direct.compiled(SOURCE))

    def logged(name, grid, block, *arrays_and_scalars):
        places = [device.upload(a) if isinstance(a, np.ndarray) else a for a in arrays_and_scalars]
        device.launch(device.function(module, name), grid, block, *places)
        device.synchronize()
        return cuda_device.launches(log)[-1]

    logged.device, logged.log = device, log
    return logged


def floats(n):
    return np.ones(n, "float32")


def test_a_launch_counts_unique_bytes_and_operations(logged):
    record = logged("scaled", 4, 32, floats(100), floats(100), floats(1), np.int32(100))
    assert len(record.pop("module")) == 16
    assert record == dict(name="scaled", grid=[4, 1, 1], block=[32, 1, 1], read=404, written=400, flop=200)


def test_bytes_that_several_threads_read_or_write_count_once(logged):
    record = logged("window", (2, 1), (8, 4), floats(16), floats(20))
    assert (record["grid"], record["block"]) == ([2, 1, 1], [8, 4, 1])
    assert (record["read"], record["written"], record["flop"]) == (80, 16, 2 * 32 * 5)


def test_bytes_are_bytes_and_shared_memory_is_not_counted(logged):
    record = logged("bytes", 1, 32, np.zeros(64, "uint8"), np.zeros(32, "uint8"))
    assert (record["read"], record["written"]) == (32, 32)
    record = logged("shared", 1, 32, floats(32))
    assert (record["read"], record["written"]) == (0, 128)


def test_copies_and_fills_are_operations_too(logged):
    device = logged.device
    x = device.upload(floats(8))
    device.library.cuMemsetD8Async(direct.ctypes.c_uint64(x), 0, direct.ctypes.c_size_t(16), None)
    device.download(x, floats(8))
    records = cuda_device.launches(logged.log)[-3:]
    assert [(r["name"], r["read"], r["written"]) for r in records] == [
        ("copy to device", 0, 32),
        ("fill", 0, 16),
        ("copy to host", 32, 0),
    ]
    assert {record["module"] for record in records} == {""}
    assert all(record["grid"] == record["block"] == [0, 0, 0] for record in records)
