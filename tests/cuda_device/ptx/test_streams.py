"""Streams and events have CUDA's order and no other; what is left open falls as the seed has it."""

import numpy as np
import pytest

from tests.cuda_device import direct

SOURCE = r"""
#define KERNEL extern "C" __global__ void
KERNEL set(float *x, float value) { x[threadIdx.x] = value; }
KERNEL append(float *x, float digit) { x[threadIdx.x] = 10 * x[threadIdx.x] + digit; }
KERNEL summed(float *out, const float *x) { atomicAdd(out, x[blockIdx.x * blockDim.x + threadIdx.x]); }
KERNEL last(int *out) { if (threadIdx.x % 2) out[0] = blockIdx.x * blockDim.x + threadIdx.x; }
"""
N = 32


@pytest.fixture(scope="module")
def ptx(computing_device):
    return direct.compiled(SOURCE)


@pytest.fixture
def made(new_device, ptx):
    """A device under a seed, its kernels, and the memory that they write."""

    def made(**settings):
        device = new_device(**settings)
        module = device.module(ptx)
        kernels = {name: device.function(module, name) for name in ("set", "append", "summed", "last")}
        return device, kernels, device.upload(np.zeros(N, "float32"))

    return made


def value(device, x):
    """What stands there, read in a stream of its own, so that nothing else is waited for."""
    pinned, stream = device.pinned(N), device.stream(blocking=False)
    device.copy_out_later(pinned, x, stream)
    device.call("cuStreamSynchronize", stream)
    return pinned[0].item()


def append(device, kernels, x, digit, stream):
    device.launch(kernels["append"], 1, N, x, np.float32(digit), stream=stream)


def test_work_waits_in_its_stream_until_somebody_waits_for_it(made):
    device, kernels, x = made()
    stream, other, event = device.stream(), device.stream(), device.event()
    append(device, kernels, x, 1, stream)
    device.call("cuEventRecord", event, stream)
    append(device, kernels, x, 2, stream)
    assert value(device, x) == 0
    device.call("cuStreamSynchronize", other)
    assert value(device, x) == 0 and device.library.cuStreamQuery(stream) == 600
    device.call("cuEventSynchronize", event)
    assert value(device, x) == 1 and device.library.cuEventQuery(event) == 0
    device.call("cuStreamSynchronize", stream)
    assert value(device, x) == 12 and device.library.cuStreamQuery(stream) == 0


def test_a_stream_that_waits_for_an_event(made):
    device, kernels, x = made()
    first, second, event = device.stream(), device.stream(), device.event()
    append(device, kernels, x, 1, first)
    device.call("cuEventRecord", event, first)
    append(device, kernels, x, 2, first)
    device.call("cuStreamWaitEvent", second, event, 0)
    append(device, kernels, x, 3, second)
    device.call("cuStreamSynchronize", second)
    assert value(device, x) == 13
    device.call("cuStreamSynchronize", first)
    assert value(device, x) == 132


def test_the_legacy_stream_waits_for_blocking_streams_and_they_for_it(made):
    device, kernels, x = made()
    blocking, free = device.stream(), device.stream(blocking=False)
    append(device, kernels, x, 1, blocking)
    append(device, kernels, x, 9, free)
    append(device, kernels, x, 2, None)
    append(device, kernels, x, 3, blocking)
    device.call("cuStreamSynchronize", blocking)
    assert value(device, x) == 123
    device.call("cuStreamSynchronize", free)
    assert value(device, x) == 1239


def results(made, with_event, seeds=range(1, 13)):
    found = set()
    for seed in seeds:
        device, kernels, x = made(ORDER=seed)
        first, second, event = device.stream(), device.stream(), device.event()
        append(device, kernels, x, 1, first)
        if with_event:
            device.call("cuEventRecord", event, first)
            device.call("cuStreamWaitEvent", second, event, 0)
        append(device, kernels, x, 2, second)
        device.synchronize()
        found.add(value(device, x))
    return found


def test_streams_without_an_event_run_in_either_order(made):
    assert results(made, with_event=False) == {12, 21}


def test_streams_with_an_event_run_in_one_order(made):
    assert results(made, with_event=True) == {12}


def test_what_a_stream_does_before_somebody_waits_depends_on_the_seed(made):
    found = set()
    for seed in range(1, 13):
        device, kernels, x = made(ORDER=seed)
        stream, other = device.stream(), device.stream()
        append(device, kernels, x, 1, stream)
        append(device, kernels, x, 1, stream)
        device.call("cuStreamSynchronize", other)
        found.add(value(device, x))
    assert found > {0}, found


def test_pageable_memory_is_read_at_once_and_pinned_memory_later(made):
    device, _, x = made()
    pageable, pinned, y = np.ones(N, "float32"), device.pinned(N), device.allocate(4 * N)
    pinned[:] = 1
    stream = device.stream()
    device.copy_in_later(x, pageable, stream)
    device.copy_in_later(y, pinned, stream)
    pageable[:] = 2
    pinned[:] = 2
    device.call("cuStreamSynchronize", stream)
    assert (value(device, x), value(device, y)) == (1, 2)


def test_a_copy_to_pageable_memory_is_done_when_it_returns(made):
    device, kernels, x = made()
    stream, pageable, pinned = device.stream(), np.zeros(N, "float32"), device.pinned(N)
    pinned[:] = 0
    append(device, kernels, x, 1, stream)
    device.copy_out_later(pinned, x, stream)
    assert pinned[0] == 0
    device.copy_out_later(pageable, x, stream)
    assert pageable[0] == 1 and pinned[0] == 1


def test_many_launches_do_not_wait_without_end(made):
    device, kernels, x = made()
    device.launch(kernels["set"], 1, N, x, np.float32(0))
    for _ in range(1500):
        append(device, kernels, x, 1, None)
    assert value(device, x) > 1e30  # some ran


def test_the_order_of_blocks_and_threads_is_the_seeds(made):
    def outcome(seed):
        device, kernels, _ = made(ORDER=seed)
        rng = np.random.default_rng(0)
        x, total = device.upload(rng.normal(size=1024).astype("float32")), device.upload(np.zeros(1, "float32"))
        last = device.upload(np.zeros(1, "int32"))
        device.launch(kernels["summed"], 8, 128, total, x)
        device.launch(kernels["last"], 4, 64, last)
        return device.download(total, np.zeros(1, "float32"))[0], device.download(last, np.zeros(1, "int32"))[0]

    found = [outcome(seed) for seed in ("", "", 1, 1, 2, 3, 4)]
    assert found[0] == found[1] and found[2] == found[3] and found[0][1] == 255
    assert len({total for total, _ in found}) > 2 and len({last for _, last in found}) > 3


def test_events_tell_how_long_the_work_between_them_took(made):
    import ctypes

    device, kernels, x = made()
    first, second, milliseconds = device.event(), device.event(), ctypes.c_float(-1)
    device.call("cuEventRecord", first, None)
    device.launch(kernels["append"], 200, N, x, np.float32(0))
    device.call("cuEventRecord", second, None)
    assert device.library.cuEventElapsedTime(ctypes.byref(milliseconds), first, second) == 600
    device.call("cuEventSynchronize", second)
    device.call("cuEventElapsedTime", ctypes.byref(milliseconds), first, second)
    assert 0 < milliseconds.value < 10000
