"""Faults that are planted into kernels and into their use: the checking mode finds each, by name, and nothing else."""

import numpy as np
import pytest

from tests.cuda_device import direct

SOURCE = r"""
#define I (blockIdx.x * blockDim.x + threadIdx.x)
#define KERNEL extern "C" __global__ void

KERNEL copied(float *y, const float *x, int n) { if (I < n) y[I] = x[I]; }
KERNEL strided(float *y, const float *x, int stride) { y[I] = x[threadIdx.x * stride + blockIdx.x]; }
KERNEL read_beyond(float *y, const float *x) { y[I] = x[I + 1]; }
KERNEL write_before(float *y, const float *x) { y[(int)I - 1] = x[I]; }
KERNEL misaligned(float *y, const float *x) { y[I] = *(const float *)((const char *)x + 4 * (I / 2) + 2); }
KERNEL pairs(float *y, const float *x) { if (I < 31) ((float2 *)(y + 1))[I] = make_float2(x[I], x[I]); }
KERNEL one_for_all(float *y, const float *x) { y[blockIdx.x] = x[I]; }
KERNEL blocks_meet(float *y, const float *x) { if (!threadIdx.x) y[0] = x[I]; }
KERNEL neighbour(float *y, const float *x) { y[I] = x[I]; y[I] += y[(I + 33) & 63]; }
KERNEL reversed(float *y, const float *x, int barrier) {
  __shared__ float s[32];
  s[threadIdx.x] = x[I];
  if (barrier) __syncthreads();
  y[I] = s[31 - threadIdx.x];
}
KERNEL twice(float *y, const float *x, int barrier) {
  __shared__ float s[32];
  s[threadIdx.x] = x[I];
  __syncthreads();
  float kept = s[31 - threadIdx.x];
  if (barrier) __syncthreads();
  s[threadIdx.x] = kept;
  __syncthreads();
  y[I] = s[threadIdx.x];
}
KERNEL shared_unwritten(float *y, const float *x) {
  __shared__ float s[32];
  if (threadIdx.x) s[threadIdx.x] = x[I];
  __syncthreads();
  y[I] = s[threadIdx.x];
}
KERNEL shared_beyond(float *y, const float *x) {
  extern __shared__ float s[];
  s[threadIdx.x + 1] = x[I];
  y[I] = s[threadIdx.x + 1];
}
KERNEL some_at_a_barrier(float *y, const float *x) {
  if (threadIdx.x < 5) return;
  __syncthreads();
  y[I] = x[I];
}
KERNEL two_barriers(float *y, const float *x) {
  if (threadIdx.x < 5) { y[I] = 1; __syncthreads(); y[I] = x[I]; }
  else { y[I] = 2; __syncthreads(); y[I] = 3; }
}
KERNEL absent_lane(float *y, const float *x) {
  y[I] = x[I];
  if (threadIdx.x != 7) y[I] = __shfl_sync(~0u, x[I], 3);
}
KERNEL by_warp(float *y, const float *x, int synchronised) {
  __shared__ float s[32];
  s[threadIdx.x] = x[I];
  if (synchronised) __syncwarp();
  y[I] = s[threadIdx.x ^ 1];
}
KERNEL summed_by_warp(float *y, const float *x) {
  __shared__ float s[32];
  s[threadIdx.x] = x[I];
  __syncwarp();
  for (int d = 16; d; d /= 2) {
    float both = s[threadIdx.x] + s[threadIdx.x ^ d];
    __syncwarp();
    s[threadIdx.x] = both;
    __syncwarp();
  }
  y[I] = s[threadIdx.x];
}
KERNEL two_phases(float *y, const float *x, int barrier) {
  __shared__ float s[32];
  s[threadIdx.x] = x[I];
  __syncthreads();
  float a = s[31 - threadIdx.x];
  __syncthreads();
  float b = s[threadIdx.x ^ 1];
  if (barrier) __syncthreads();
  s[threadIdx.x] = a + b;
  y[I] = s[threadIdx.x];
}
KERNEL counted(float *y, const float *x) { atomicAdd(y, x[I]); }
KERNEL counted_half(float *y, const float *x) { if (I & 1) atomicAdd(y, x[I]); else y[0] += x[I]; }
"""
N = 64  # two blocks of 32 threads

# kernel, what it is launched with, and what has to be found (None: nothing)
FAULTS = {
    "nothing wrong": ("copied", dict(more=[np.int32(N)]), None),
    "a right stride": ("strided", dict(more=[np.int32(2)]), None),
    "a wrong stride": ("strided", dict(more=[np.int32(3)]), "out of bounds: a read of global memory: strided"),
    "an off-by-one grid": ("write_before", dict(), "out of bounds: a write of global memory: write_before"),
    "a grid that is a block too large": ("read_beyond", dict(), "out of bounds: a read of global memory: read_beyond"),
    "operands that nobody wrote": (
        "copied",
        dict(more=[np.int32(N)], written=False),
        "uninitialised: reads what nobody",
    ),
    "a misaligned read": ("misaligned", dict(), "misaligned: misaligned"),
    "a misaligned pair": ("pairs", dict(), "misaligned: pairs"),
    "all threads write one number": ("one_for_all", dict(), "race: two threads write: one_for_all"),
    "all blocks write one number": ("blocks_meet", dict(), "race: two threads write: blocks_meet"),
    "a thread reads another one's result": ("neighbour", dict(), "race: reads what another thread writes: neighbour"),
    "a barrier": ("reversed", dict(more=[np.int32(1)]), None),
    "a missing barrier": ("reversed", dict(more=[np.int32(0)]), "race: reads what another thread writes: reversed"),
    "a second barrier": ("twice", dict(more=[np.int32(1)]), None),
    "a missing second barrier": ("twice", dict(more=[np.int32(0)]), "race: writes what another thread reads: twice"),
    "shared memory that nobody wrote": ("shared_unwritten", dict(), "uninitialised: reads shared memory that nobody"),
    "shared memory out of bounds": ("shared_beyond", dict(shared=128), "out of bounds: a write of shared memory"),
    "a barrier after some have ended": (
        "some_at_a_barrier",
        dict(),
        "divergent barrier: threads of some_at_a_barrier end",
    ),
    "two barriers for one": ("two_barriers", dict(), "divergent barrier: threads of a block of two_barriers wait"),
    "a shuffle with an absent lane": ("absent_lane", dict(), "divergent warp: lanes of a warp of absent_lane"),
    "a warp's barrier": ("by_warp", dict(more=[np.int32(1)]), None),
    "a warp's missing barrier": (
        "by_warp",
        dict(more=[np.int32(0)]),
        "race: reads what another thread writes: by_warp",
    ),
    "a sum by a warp": ("summed_by_warp", dict(), None),
    "a third barrier": ("two_phases", dict(more=[np.int32(1)]), None),
    "a missing third barrier": (
        "two_phases",
        dict(more=[np.int32(0)]),
        "race: writes what another thread reads: two_p",
    ),
    "atomic sums": ("counted", dict(), None),
    "sums that are atomic for some": ("counted_half", dict(), "race: "),
}


@pytest.fixture(scope="module")
def ptx(computing_device):
    return direct.compiled(SOURCE)


@pytest.fixture(scope="module", params=["", 1, 2])
def launch(request, new_device, ptx):
    """Launches a kernel on two blocks of a warp under checks, in turn and in two random orders; gives the findings."""
    device = new_device(CHECK=1, ORDER=request.param)
    module = device.module(ptx)

    def launch(name, more=(), written=True, shared=0):
        x = device.upload(np.arange(N, dtype="float32")) if written else device.allocate(4 * N)
        y = device.upload(np.zeros(N, "float32"))
        device.launch(device.function(module, name), 2, N // 2, y, x, *more, shared=shared)
        found = device.findings()
        device.free(x)
        device.free(y)
        return found

    return launch


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_nothing_else(launch, fault):
    name, options, wanted = FAULTS[fault]
    found = launch(name, **options)
    if wanted is None:
        assert found == []
    else:
        kinds = {line.split(":")[0] for line in found}
        assert any(line.startswith(wanted) for line in found), found
        assert kinds <= {wanted.split(":")[0], "uninitialised"}, found  # what lies beyond was not written either
        assert all(name in line and "times)" in line for line in found)


def test_a_grid_that_is_a_block_short_leaves_numbers_unwritten(checking, ptx):
    kernel = checking.function(checking.module(ptx), "copied")
    x, y = checking.upload(np.ones(N, "float32")), checking.allocate(4 * N)
    z = checking.allocate(4 * N)
    checking.launch(kernel, 1, N // 2, y, x, np.int32(N))
    checking.launch(kernel, 2, N // 2, z, y, np.int32(N))
    (found,) = checking.findings()
    assert "uninitialised: reads what nobody wrote: copied" in found and "at 128 of an allocation of 256" in found


def test_memory_that_is_used_after_it_was_freed(checking, ptx):
    kernel = checking.function(checking.module(ptx), "copied")
    x, y = checking.upload(np.ones(N, "float32")), checking.allocate(4 * N)
    checking.free(x)
    checking.launch(kernel, 2, N // 2, y, x, np.int32(N))
    (found,) = checking.findings()
    assert found.startswith("use after free: a read of global memory: copied, line ")
    with pytest.raises(direct.DriverError, match="cuMemFree_v2: 1"):
        checking.free(x)
    assert "is no allocation" in checking.findings()[0]


def test_a_copy_beyond_an_allocation(checking):
    x = checking.upload(np.ones(N, "float32"))
    checking.download(x + 4, np.ones(N, "float32"))
    (found,) = checking.findings()
    assert found.startswith("out of bounds: copy to host: source: bytes 4 to 260 of an allocation of 256")


@pytest.mark.parametrize("waits", [True, False])
def test_an_asynchronous_read(checking, waits):
    """Pinned memory is read before, or after, the host has waited for the copy to it."""
    x, pinned = checking.upload(np.full(N, 3, "float32")), checking.pinned(N)
    pinned[:] = 1
    stream = checking.stream()
    checking.copy_out_later(pinned, x, stream)
    if waits:
        checking.call("cuStreamSynchronize", stream)
    read = pinned[5]
    found = checking.findings()
    assert read == (3 if waits else 1)
    if waits:
        assert found == []
    else:
        (line,) = found
        assert line.startswith("asynchronous: the host reads pinned memory before it has waited for the copy to it")


@pytest.mark.parametrize("waits", [True, False])
def test_an_asynchronous_write(checking, waits):
    x, pinned = checking.allocate(4 * N), checking.pinned(N)
    pinned[:] = 1
    checking.copy_in_later(x, pinned)
    assert pinned[0] == 1  # reading is no fault
    if waits:
        checking.synchronize()
    pinned[:] = 2
    found = checking.findings()
    assert checking.download(x, np.zeros(N, "float32"))[0] == (1 if waits else 2)
    assert [line[:48] for line in found] == ([] if waits else ["asynchronous: the host writes pinned memory befo"])


def test_a_kernel_that_reads_pinned_memory_is_not_the_host(checking, ptx):
    x, y, pinned = checking.upload(np.ones(N, "float32")), checking.allocate(4 * N), checking.pinned(N)
    pinned[:] = 2
    kernel = checking.function(checking.module(ptx), "copied")
    waiting, other = checking.stream(), checking.stream()
    checking.copy_out_later(pinned, x, waiting)
    checking.launch(kernel, 2, N // 2, y, pinned.ctypes.data, np.int32(N), stream=other)
    checking.call("cuStreamSynchronize", other)
    assert checking.findings() == []
    assert checking.download(y, np.zeros(N, "float32"))[0] == 2


def test_without_checks_an_access_that_no_allocation_holds_is_the_end(driver, ptx, tmp_path):
    import subprocess
    import sys

    code = (
        f"import ctypes\ndriver = ctypes.CDLL({str(driver)!r})\n"
        f"module, kernel = ctypes.c_void_p(), ctypes.c_void_p()\n"
        f"driver.cuModuleLoadData(ctypes.byref(module), {ptx.encode()!r})\n"
        'driver.cuModuleGetFunction(ctypes.byref(kernel), module, b"copied")\n'
        "address, n = ctypes.c_uint64(4096), ctypes.c_int(1)\n"
        "values = (ctypes.c_void_p * 3)(*map(ctypes.addressof, (address, address, n)))\n"
        "driver.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, values, None)\ndriver.device_finish()"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == -6 and "out of bounds: a read of global memory: copied, line " in done.stderr, done.stderr
