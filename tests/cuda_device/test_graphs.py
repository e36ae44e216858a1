"""CUDA graphs of the tests' device: what is captured runs when it is launched; what CUDA refuses is refused."""

import ctypes

import numpy as np
import pytest

GLOBAL, RELAXED = 0, 2
INVALID_VALUE, INVALID_HANDLE, ILLEGAL_STATE, UNSUPPORTED, INVALIDATED, IMPLICIT = 1, 400, 401, 900, 901, 906


class Device:
    """The driver, a stream, and 4 bytes of memory."""

    def __init__(self, folder):
        self.driver = ctypes.CDLL(str(folder / "driver/libcuda.so.1"))
        self.stream, self.memory = ctypes.c_void_p(), ctypes.c_uint64()
        assert self("cuStreamCreate", ctypes.byref(self.stream), 0) == 0
        assert self("cuMemAlloc_v2", ctypes.byref(self.memory), ctypes.c_size_t(4)) == 0

    def __call__(self, name, *arguments):
        return getattr(self.driver, name)(*arguments)

    def fill(self, value, stream=None):
        return self("cuMemsetD8Async", self.memory, value, ctypes.c_size_t(4), stream or self.stream)

    def values(self):
        host = np.zeros(4, "uint8")
        assert self("cuMemcpyDtoHAsync_v2", host.ctypes, self.memory, ctypes.c_size_t(4), self.stream) == 0
        assert self("cuStreamSynchronize", self.stream) == 0
        return host.tolist()

    def begin(self, mode=RELAXED):
        assert self("cuStreamBeginCapture_v2", self.stream, mode) == 0

    def end(self):
        """The status, and the graph."""
        graph = ctypes.c_void_p()
        return self("cuStreamEndCapture", self.stream, ctypes.byref(graph)), graph

    def executable(self, graph):
        executable = ctypes.c_void_p()
        flags = ctypes.c_ulonglong(0)
        assert self("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, flags) == 0
        assert self("cuGraphDestroy", graph) == 0
        return executable


@pytest.fixture
def device(computing_device):
    device = Device(computing_device)
    yield device
    assert device("device_living_graphs") == 0
    device("cuMemFree_v2", device.memory)


def test_what_is_captured_runs_at_each_launch_and_not_before(device):
    device.fill(1)
    device.begin()
    device.fill(2)
    status, graph = device.end()
    assert status == 0 and device.values() == [1] * 4
    executable = device.executable(graph)
    for _ in range(2):
        device.fill(3)
        assert device("cuGraphLaunch", executable, device.stream) == 0
        assert device.values() == [2] * 4
    assert device("cuGraphExecDestroy", executable) == 0


def test_a_copy_reads_the_hosts_memory_when_it_is_launched(device):
    host = np.full(4, 5, "uint8")
    device.begin()
    assert device("cuMemcpyHtoDAsync_v2", device.memory, host.ctypes, ctypes.c_size_t(4), device.stream) == 0
    executable = device.executable(device.end()[1])
    host[:] = 6
    assert device("cuGraphLaunch", executable, device.stream) == 0
    assert device.values() == [6] * 4
    assert device("cuGraphExecDestroy", executable) == 0


@pytest.mark.parametrize(
    "name, arguments, status",
    [
        ("cuStreamSynchronize", lambda device: (device.stream,), UNSUPPORTED),
        ("cuStreamQuery", lambda device: (device.stream,), UNSUPPORTED),
        ("cuCtxSynchronize", lambda device: (), IMPLICIT),
        ("cuMemcpyHtoD_v2", lambda device: (device.memory, np.zeros(4, "uint8").ctypes, ctypes.c_size_t(4)), IMPLICIT),
    ],
)
def test_a_call_that_waits_ends_the_capture(device, name, arguments, status):
    device.fill(1)
    device.begin()
    device.fill(2)
    assert device(name, *arguments(device)) == status
    assert device.fill(2) == INVALIDATED
    status, graph = device.end()
    assert status == INVALIDATED and not graph
    assert device.values() == [1] * 4 and device.fill(2) == 0


@pytest.mark.parametrize("mode, status", [(RELAXED, 0), (GLOBAL, UNSUPPORTED)])
def test_memory_is_allocated_in_a_relaxed_capture_alone(device, mode, status):
    memory = ctypes.c_uint64()
    device.begin(mode)
    assert device("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(4)) == status
    ended, graph = device.end()
    assert ended == (INVALIDATED if status else 0)
    if not status:
        assert device("cuGraphDestroy", graph) == 0
        assert device("cuMemFree_v2", memory) == 0


def test_calls_out_of_turn_are_refused(device):
    assert device.end()[0] == ILLEGAL_STATE
    assert device("cuStreamBeginCapture_v2", None, RELAXED) == UNSUPPORTED
    assert device("cuStreamBeginCapture_v2", device.stream, 7) == INVALID_VALUE
    device.begin()
    assert device("cuStreamBeginCapture_v2", device.stream, RELAXED) == ILLEGAL_STATE
    executable = device.executable(device.end()[1])
    assert device("cuGraphExecDestroy", executable) == 0
    assert device("cuGraphLaunch", executable, device.stream) == INVALID_HANDLE
    assert device("cuGraphExecDestroy", executable) == INVALID_HANDLE
