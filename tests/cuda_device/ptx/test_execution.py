"""Threads, warps, blocks, functions and memory of the tests' device: PTX, and CUDA C compiled by the real nvrtc."""

import subprocess
import sys

import numpy as np
import pytest

from tests.cuda_device.direct import HEADER, DriverError, compiled

SOURCE = r"""
typedef unsigned int u32; typedef unsigned long long u64;

extern "C" __global__ void carries(u64 *out, const u64 *a, const u64 *b) {
  unsigned i = threadIdx.x;
  unsigned __int128 x = (unsigned __int128)a[i] << 64 | b[i], y = (unsigned __int128)b[i] << 64 | a[i];
  unsigned __int128 sum = x + y, rest = x - y, product = x * y;
  out[6 * i] = sum >> 64; out[6 * i + 1] = sum; out[6 * i + 2] = rest >> 64; out[6 * i + 3] = rest;
  out[6 * i + 4] = product >> 64; out[6 * i + 5] = product;
}

__device__ __noinline__ float twice(float x, float *also) { *also = x + 1; return 2 * x; }
__device__ __noinline__ float nested(float x, int deep) {
  float also;
  return deep & 1 ? twice(x, &also) + also : twice(-x, &also) - also;
}
extern "C" __global__ void functions(float *out, const float *x) {
  unsigned i = threadIdx.x;
  if (x[i] > 0) out[i] = nested(x[i], i);
  else if (x[i] < -1) out[i] = twice(x[i], out + i);
  else return;
  out[i] += 1;
}

__device__ float total(const float *values, int n) {
  float s = 0;
  for (int k = 0; k < n; k++) s += values[k];
  return s;
}
extern "C" __global__ void generic(float *out, const float *x, int choice) {
  __shared__ float shared[64];
  float local[8];
  unsigned i = threadIdx.x;
  shared[i] = x[i];
  for (int k = 0; k < 8; k++) local[(k + i) & 7] = x[k] * i;
  __syncthreads();
  const float *from = choice == 0 ? shared : choice == 1 ? local : x;
  out[i] = total(from + (i & 3), 4) + local[i & 7];
}

extern "C" __global__ void reduced(float *out, const float *x, int n) {
  extern __shared__ float buffer[];
  __shared__ float fixed[3];
  float s = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) s += x[i];
  for (int d = 16; d; d >>= 1) s += __shfl_xor_sync(~0u, s, d);
  if ((threadIdx.x & 31) == 0) buffer[threadIdx.x / 32] = s;
  if (threadIdx.x < 3) fixed[threadIdx.x] = threadIdx.x;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int k = 1; k < blockDim.x / 32; k++) s += buffer[k];
    atomicAdd(out, s + fixed[0] + fixed[1] - fixed[2] + 1);
  }
}

extern "C" __global__ void together(u32 *out, const int *x) {
  u32 i = threadIdx.x;
  u32 *mine = out + 12 * i;
  mine[0] = __ballot_sync(~0u, x[i] > 0);
  mine[1] = __any_sync(~0u, x[i] == 5) | __all_sync(~0u, x[i] < 100) << 1 | __all_sync(~0u, x[i] > 0) << 2;
  mine[2] = __match_any_sync(~0u, x[i]);
  int same;
  mine[3] = __match_all_sync(~0u, 7, &same) + same;
  mine[4] = __reduce_add_sync(~0u, x[i]);
  mine[5] = __reduce_min_sync(~0u, x[i]);
  mine[6] = __reduce_max_sync(~0u, (u32)x[i]);
  mine[7] = __shfl_up_sync(~0u, x[i], 3);
  mine[8] = __shfl_down_sync(~0u, x[i], 2, 8);
  mine[9] = __shfl_sync(~0u, x[i], 5, 16);
  if (i & 1) mine[10] = __activemask();
  else mine[10] = __shfl_xor_sync(0x55555555, x[i], 2);
  mine[11] = __syncthreads_count(x[i] > 0) | __syncthreads_or(x[i] == 5) << 8 | __syncthreads_and(x[i] < 100) << 9;
}

extern "C" __global__ void atomics(int *a, u32 *b, u64 *c, double *d, float *f, int *s) {
  int i = threadIdx.x;
  atomicAdd(a, i); atomicMin(a + 1, i - 9); atomicMax(a + 2, i); atomicExch(a + 3, 4); atomicCAS(a + 4, 0, 7);
  atomicAnd(b, ~(1u << (i & 31))); atomicOr(b + 1, 1u << (i & 31)); atomicXor(b + 2, i); atomicInc(b + 3, 10);
  atomicDec(b + 4, 5); atomicAdd(c, 1ull << 33); atomicAdd(d, 0.5); atomicAdd(f, 0.25f);
  __shared__ int t;
  if (!i) t = 0;
  __syncthreads();
  atomicAdd(&t, i);
  __syncthreads();
  if (!i) *s = t;
}

extern "C" __global__ void locked(int *out, int *lock) {
  while (atomicCAS(lock, 0, 1)) {}
  out[0] = 3 * out[0] % 1000003 + 1;
  __threadfence();
  atomicExch(lock, 0);
}

extern "C" __global__ void indices(u32 *out) {
  u32 block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  u32 thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * (blockDim.x * blockDim.y * blockDim.z) + thread] = block << 16 | thread;
}

extern "C" __global__ void branches(int *out, const int *x) {
  int i = threadIdx.x, n = x[i], steps = 0;
  while (n != 1) {
    n = n & 1 ? 3 * n + 1 : n / 2;
    if (++steps > 1000) break;
  }
  switch (i % 7) {
  case 0: steps += 10; break;
  case 1: steps ^= 3; break;
  case 2: steps *= 5; break;
  case 3: steps -= 100; break;
  case 4: steps /= 3; break;
  default: steps = -steps;
  }
  out[i] = steps;
}

__constant__ float table[4] = {1.5f, 2.5f, -3.5f, 4.5f};
__device__ int counter = 5;
extern "C" __global__ void variables(float *out) {
  out[threadIdx.x] = table[threadIdx.x & 3] + atomicAdd(&counter, 1);
}

extern "C" __global__ void slow_paths(double *out, const double *x) {
  unsigned i = threadIdx.x;
  out[4 * i] = sin(x[i]); out[4 * i + 1] = exp(-x[i] * x[i] / 1e6); out[4 * i + 2] = lgamma(x[i] + 1);
  out[4 * i + 3] = 1 / sqrt(x[i]) + pow(x[i], 0.3) + erf(x[i] / 9);
}
"""


@pytest.fixture(scope="module", params=[12, 13])
def module(request, computing_device_13, device):
    """The kernels of `SOURCE` by nvrtc 12.9 and 13.0."""
    return device.module(compiled(SOURCE, request.param))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def run(module, device):
    """Launch a kernel on arrays and return the first, which it writes."""

    def run(name, grid, block, *arguments, shared=0):
        places = [device.upload(a) if isinstance(a, np.ndarray) else a for a in arguments]
        device.launch(device.function(module, name), grid, block, *places, shared=shared)
        return [device.download(p, a) for p, a in zip(places, arguments) if isinstance(a, np.ndarray)]

    return run


def test_carries_make_sums_of_128_bits(run, rng):
    a, b = rng.integers(0, 2**64, (2, 32), "uint64")
    out, *_ = run("carries", 1, 32, np.zeros((32, 6), "uint64"), a, b)
    for row, p, q in zip(out.tolist(), a.tolist(), b.tolist()):
        x, y = p << 64 | q, q << 64 | p
        for k, value in enumerate((x + y, x - y, x * y)):
            assert row[2 * k] << 64 | row[2 * k + 1] == value % (1 << 128)


def test_functions_that_are_called_by_some_threads(run, rng):
    x = rng.normal(size=96).astype("float32") * 2
    out, _ = run("functions", 1, 96, np.full(96, 9, "float32"), x)
    i = np.arange(96)
    called = np.where(i & 1, 2 * x + (x + 1), 2 * -x - (-x + 1)) + 1
    np.testing.assert_allclose(out, np.where(x > 0, called, np.where(x < -1, 2 * x + 1, 9)), rtol=1e-6)


@pytest.mark.parametrize("choice", range(3))
def test_a_generic_address_is_of_any_memory(run, rng, choice):
    x = rng.normal(size=64).astype("float32")
    out, _ = run("generic", 1, 64, np.zeros(64, "float32"), x, np.int32(choice))
    i = np.arange(64)
    local = np.zeros((64, 8), "float32")
    for k in range(8):
        local[i, (k + i) & 7] = x[k] * i
    rows = {0: np.tile(x, (64, 1)), 1: local, 2: np.tile(x, (64, 1))}[choice]
    sums = [rows[t, t & 3 : (t & 3) + 4].sum() for t in i]
    np.testing.assert_allclose(out, sums + local[i, i & 7], rtol=1e-5)


def test_a_sum_by_shuffles_shared_memory_and_atomics(run, rng):
    x = rng.integers(0, 100, 5000).astype("float32")
    out, _ = run("reduced", 6, 128, np.zeros(1, "float32"), x, np.int32(5000), shared=16)
    assert out[0] == x.sum()  # whole numbers: in any order


def test_the_lanes_of_a_warp_vote_match_shuffle_and_reduce(run, rng):
    x = rng.integers(-6, 7, 64).astype("int32")
    out, _ = run("together", 1, 64, np.zeros((64, 12), "uint32"), x)
    i = np.arange(32)

    def mask(chosen):
        return int((1 << i[chosen]).sum())

    for warp in range(2):
        lanes, got = x[32 * warp : 32 * warp + 32], out[32 * warp : 32 * warp + 32].astype("int64")
        assert (got[:, 0] == mask(lanes > 0)).all()
        assert (got[:, 1] == ((lanes == 5).any() | 2)).all()
        assert got[:, 2].tolist() == [mask(lanes == lane) for lane in lanes]
        assert (got[:, 3] == 0).all()  # every lane, and one
        assert (got[:, 4].astype("uint32").view("int32") == lanes.sum()).all()
        assert (got[:, 5].astype("uint32").view("int32") == lanes.min()).all()
        assert (got[:, 6] == lanes.view("uint32").max()).all()
        signed = got.astype("uint32").view("int32")
        assert signed[:, 7].tolist() == lanes[np.where(i >= 3, i - 3, i)].tolist()
        assert signed[:, 8].tolist() == lanes[np.where(i % 8 + 2 < 8, i + 2, i)].tolist()
        assert signed[:, 9].tolist() == lanes[i // 16 * 16 + 5].tolist()
        assert (got[1::2, 10] == 0xAAAAAAAA).all() and signed[::2, 10].tolist() == lanes[(i ^ 2)[::2]].tolist()
    assert (out[:, 11] == ((x > 0).sum() | int((x == 5).any()) << 8 | 1 << 9)).all()


def test_atomics_of_each_kind(run):
    n = 70
    arrays = [np.zeros(5, "int32"), np.array([2**32 - 1, 0, 0, 0, 3], "uint32"), np.zeros(1, "uint64")]
    arrays += [np.zeros(1, "float64"), np.zeros(1, "float32"), np.zeros(1, "int32")]
    a, b, c, d, f, s = run("atomics", 1, n, *arrays)
    assert a.tolist() == [n * (n - 1) // 2, -9, n - 1, 4, 7]
    xor = int(np.bitwise_xor.reduce(np.arange(n)))
    steps = 3
    for _ in range(n):
        steps = 5 if steps == 0 or steps > 5 else steps - 1
    assert b.tolist() == [0, 2**32 - 1, xor, n % 11, steps]
    assert (c[0], d[0], f[0], s[0]) == (n << 33, n / 2, n / 4, n * (n - 1) // 2)


def test_lanes_that_wait_for_each_other(run):
    out, _ = run("locked", 2, 64, np.zeros(1, "int32"), np.zeros(1, "int32"))
    value = 0
    for _ in range(128):
        value = 3 * value % 1000003 + 1
    assert out[0] == value


def test_blocks_and_threads_of_three_dimensions(run):
    (out,) = run("indices", (2, 3, 2), (5, 3, 4), np.zeros(12 * 60, "uint32"))
    assert out.tolist() == [block << 16 | thread for block in range(12) for thread in range(60)]


def test_lanes_that_branch_apart(run):
    def steps(n, i):
        count = 0
        while n != 1:
            n, count = 3 * n + 1 if n & 1 else n // 2, count + 1
        return {0: count + 10, 1: count ^ 3, 2: count * 5, 3: count - 100, 4: count // 3}.get(i % 7, -count)

    x = np.arange(1, 129, dtype="int32")
    out, _ = run("branches", 1, 128, np.zeros(128, "int32"), x)
    assert out.tolist() == [steps(n, i) for i, n in enumerate(range(1, 129))]


def test_a_modules_variables(run):
    (out,) = run("variables", 1, 4, np.zeros(4, "float32"))
    assert sorted(out - np.array([1.5, 2.5, -3.5, 4.5])) == [5, 6, 7, 8]


def test_functions_of_float64_with_their_slow_paths(run, rng):
    from scipy import special

    x = np.abs(rng.normal(size=64)) * 10.0 ** rng.integers(-3, 9, 64)
    out, _ = run("slow_paths", 1, 64, np.zeros((64, 4)), x)
    wanted = [np.sin(x), np.exp(-x * x / 1e6), special.gammaln(x + 1), x**-0.5 + x**0.3 + special.erf(x / 9)]
    np.testing.assert_allclose(out, np.transpose(wanted), rtol=1e-12, atol=1e-14)


HALVES = (
    HEADER
    + """
.visible .entry kernel(.param .u64 p0, .param .u64 p1) {
  .reg .b64 %a, %b; .reg .b32 %x, %y, %z; .reg .b16 %h, %l, %s;
  ld.param.u64 %a, [p0]; ld.param.u64 %b, [p1];
  ld.global.v2.b32 {%x, %y}, [%b];
  fma.rn.f16x2 %z, %x, %y, %x; st.global.b32 [%a], %z;
  mov.b32 {%l, %h}, %x; add.f16 %s, %l, %h; st.global.b16 [%a+4], %s;
  mov.b32 %z, {%h, %l}; st.global.b32 [%a+8], %z;
  atom.global.add.noftz.f16x2 %z, [%a+12], %y; red.global.add.noftz.f16 [%a+16], %l;
  mul.rn.f16x2 %z, %x, %y; add.f16x2 %z, %z, %x; st.global.b32 [%a+20], %z;
  bar.sync 3; bar.arrive 4, 64; bar.sync 0, 32;
  ret;
}
"""
)


def test_halves_and_numbered_barriers(device):
    x = np.array([1.5, -2.25, 3.0, 0.5], "float16")
    start = np.zeros(12, "float16")
    start[6:9] = 1
    to = device.upload(start)
    device.launch(device.kernel(HALVES), 1, 32, to, device.upload(x))
    out = device.download(to, start)
    assert out[:2].tolist() == [1.5 * 3 + 1.5, -2.25 * 0.5 - 2.25] and out[2] == -0.75
    assert out[4:6].tolist() == [-2.25, 1.5]
    assert out[6:8].tolist() == [1 + 32 * 3, 1 + 32 * 0.5] and out[8] == 1 + 32 * 1.5
    assert out[10:12].tolist() == [1.5 * 3 + 1.5, -2.25 * 0.5 - 2.25]


TABLE = (
    HEADER
    + """
.visible .entry kernel(.param .u64 p0) {
  .reg .b64 %a, %t, %l, %s; .reg .b32 %i, %r; .reg .pred %p, %q; .local .b32 here; .shared .b32 there;
  ld.param.u64 %a, [p0]; mov.u32 %i, %tid.x; mul.wide.u32 %t, %i, 4; add.s64 %a, %a, %t;
  mov.u64 %l, here; cvta.local.u64 %l, %l; mov.u64 %s, there; cvta.shared.u64 %s, %s;
  and.b32 %r, %i, 3;
  $TABLE: .branchtargets $A, $B, $C, $D;
  brx.idx %r, $TABLE;
  $A: mov.u32 %r, 10; bra.uni $END;
  $B: isspacep.local %p, %l; isspacep.shared %q, %l; and.pred %q, %p, !%q; selp.b32 %r, 20, 0, %q; bra.uni $END;
  $C: isspacep.shared %p, %s; isspacep.global %q, %a; and.pred %q, %p, %q; selp.b32 %r, 30, 0, %q; bra.uni $END;
  $D: setp.eq.u32 %q, %r, 3; vote.sync.uni.pred %p, %q, 0x88888888; @%p mov.u32 %r, 40; @!%p mov.u32 %r, 0;
  $END: st.global.b32 [%a], %r;
  ret;
}
"""
)


def test_a_table_of_branches_and_spaces_of_addresses(device):
    out = np.zeros(32, "uint32")
    to = device.upload(out)
    device.launch(device.kernel(TABLE), 1, 32, to)
    assert device.download(to, out).tolist() == [10, 20, 30, 40] * 8


def test_a_launch_that_cuda_refuses(device, module):
    kernel = device.function(module, "indices")
    for grid, block in (((1,), (1025,)), ((0,), (1,)), ((1, 70000), (1,)), ((1,), (1, 1, 65))):
        with pytest.raises(DriverError, match="cuLaunchKernel: 1"):
            device.launch(kernel, grid, block, 0)
    with pytest.raises(DriverError, match="cuModuleGetFunction: 500"):
        device.function(module, "nothing")


UNKNOWN = """
import ctypes
driver = ctypes.CDLL({driver!r})
module, kernel = ctypes.c_void_p(), ctypes.c_void_p()
driver.cuModuleLoadData(ctypes.byref(module), {ptx!r})
driver.cuModuleGetFunction(ctypes.byref(kernel), module, b"kernel")
driver.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None)
driver.device_finish()
"""


@pytest.mark.parametrize(
    "instruction, said",
    [
        ("tex.1d.v4.f32.s32 {%r0, %r1, %r1, %r1}, [%r2, {%r0}]", "is not known: tex.1d.v4.f32.s32 {%r0"),
        ("add.s32 %r0, %r1, %nothing", "is not known: add.s32 %r0, %r1, %nothing (%nothing)"),
        ("trap", "kernel kernel, line 5: trap"),
        ("FOREVER: bra.uni FOREVER", "kernel kernel, line 5: a loop does not end"),
    ],
)
def test_an_unknown_instruction_aborts_with_its_text(driver, instruction, said):
    ptx = HEADER + f".visible .entry kernel() {{ .reg .b32 %r<3>; \n{instruction}; \nret; }}"
    code = UNKNOWN.format(driver=str(driver), ptx=ptx.encode())
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == -6 and said in done.stderr and "line 5" in done.stderr, done.stderr
