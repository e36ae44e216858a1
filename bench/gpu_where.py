"""Where the time of a seed model's step goes on an NVIDIA GPU, by CUDA events around each node of its graph.

    FASTVAE_PROFILE=cuda python -m bench.gpu_where conv [--quick]

Prints a line of JSON once the step is compiled, waits for a line on standard input, and then prints the milliseconds of
each group of Ops, and of the step. The GPU is kept busy while the host launches the step, so that the time between two
events is the GPU's own and not the host's.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import statistics
import sys
from collections.abc import Iterator

import fastvae  # isort: skip  (before theano)
import theano
from theano.gof import Op
from theano.gof.vm import VM_Linker

from bench.steps import compiled_step

REPEATS, WARM_UP = 20, 3
BUSY = 1 << 30, 40  # bytes that are set to zero, and how many times, while the host launches a step
TOY_BUSY = 1 << 20, 1
THEANOS = (  # of Theano's own Ops, by the beginnings of their names
    ("products", ("GpuGemm", "GpuDot", "GpuGemv", "GpuGer", "GpuBatchedDot")),
    ("element-wise", ("GpuElemwise",)),
    ("sums and the like", ("GpuCAReduce",)),
    ("random numbers", ("GPUA_mrg",)),
    ("rows", ("GpuAdvancedSubtensor", "GpuAdvancedIncSubtensor")),
    ("copies", ("GpuFromHost", "HostFromGpu", "GpuContiguous", "GpuAlloc", "GpuJoin", "GpuSplit", "GpuIncSubtensor")),
)


def group(op: Op) -> str:
    """The group that an Op's time is told in."""
    name, module = type(op).__name__, type(op).__module__
    if module.startswith("fastvae."):
        return module.rpartition(".")[2].replace("_", " ")
    return next((told for told, stems in THEANOS if name.startswith(stems)), "views, shapes and the host's")


class Cuda:
    """The driver, as far as events need it, on libgpuarray's context and stream."""

    def __init__(self, context) -> None:
        self.driver = ctypes.CDLL("libcuda.so.1")
        extension = ctypes.CDLL("libgpuarray.so.3").gpuarray_get_extension
        extension.argtypes, extension.restype = [ctypes.c_char_p], ctypes.c_void_p
        pointer = ctypes.c_void_p(context.ptr)
        self.enter, self.leave = (
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(extension(name)) for name in (b"cuda_enter", b"cuda_exit")
        )
        self.stream = ctypes.c_void_p(
            ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(extension(b"cuda_get_stream"))(pointer)
        )
        self.pointer = pointer

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the context this thread's."""
        self.enter(self.pointer)
        try:
            yield
        finally:
            self.leave(self.pointer)

    def call(self, function: str, *arguments: object) -> None:
        """Call a function of the driver and raise RuntimeError unless it succeeds."""
        status = getattr(self.driver, function)(*arguments)
        if status:
            raise RuntimeError(f"{function} failed with status {status} of CUDA's driver")

    def event(self) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self.call("cuEventCreate", ctypes.byref(made), ctypes.c_uint(0))
        return made

    def record(self, event: ctypes.c_void_p) -> None:
        self.call("cuEventRecord", event, self.stream)

    def milliseconds(self, first: ctypes.c_void_p, second: ctypes.c_void_p) -> float:
        """From one recorded event to another, once the second is over."""
        elapsed = ctypes.c_float()
        self.call("cuEventSynchronize", second)
        self.call("cuEventElapsedTime", ctypes.byref(elapsed), first, second)
        return elapsed.value

    def memory(self, size: int) -> ctypes.c_uint64:
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address

    def keep_busy(self, memory: ctypes.c_uint64, size: int, times: int) -> None:
        """Queue work that takes the GPU longer than it takes the host to queue it."""
        for _ in range(times):
            self.call("cuMemsetD8Async", memory, ctypes.c_ubyte(0), ctypes.c_size_t(size), self.stream)


def timed(step, cuda: Cuda, repeats: int, busy: tuple[int, int]) -> dict:
    """Median milliseconds of each group of a step's nodes, and of the whole step."""
    vm, totals, whole = step.fn, {}, []
    size, times = busy
    with cuda.current():
        memory, events = cuda.memory(size), [cuda.event() for _ in range(len(vm.thunks) + 1)]

    def recorded(thunk, event):
        def run():
            thunk()
            with cuda.current():
                cuda.record(event)

        return run

    groups = [group(node.op) for node in vm.nodes]
    vm.thunks[:] = [recorded(thunk, event) for thunk, event in zip(vm.thunks, events[1:])]
    for _ in range(repeats):
        with cuda.current():
            cuda.keep_busy(memory, size, times)
            cuda.record(events[0])
        step()
        with cuda.current():
            spent = [cuda.milliseconds(*pair) for pair in zip(events, events[1:])]
            whole.append(cuda.milliseconds(events[0], events[-1]))
        for name in set(groups):
            totals.setdefault(name, []).append(sum(ms for ms, one in zip(spent, groups) if one == name))
    found = {name: statistics.median(values) for name, values in totals.items()}
    rows = [
        {"group": name, "nodes": groups.count(name), "milliseconds": found[name]}
        for name in sorted(found, key=found.get, reverse=True)
    ]
    return {"milliseconds": statistics.median(whole), "groups": rows}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("conv", "mlp"))
    parser.add_argument("--quick", action="store_true", help="toy size, twice")
    args = parser.parse_args(argv)
    images = fastvae.datasets.load("fashion-mnist-sample")
    batch_size, network = (8, dict(hidden=8)) if args.quick else (64, {})
    if args.quick and args.model == "conv":
        network["filters"] = 8
    mode = theano.compile.get_default_mode()
    mode = theano.compile.Mode(VM_Linker(allow_gc=False, use_cloop=False), mode.provided_optimizer)
    minibatch = fastvae.Minibatch(images, batch_size)
    step = compiled_step(args.model, minibatch, batch_size, len(images), network=network, mode=mode)
    for _ in range(WARM_UP):
        step()
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    from theano.gpuarray.type import get_context

    busy, repeats = (TOY_BUSY, 2) if args.quick else (BUSY, REPEATS)
    print(json.dumps({"model": args.model, **timed(step, Cuda(get_context(None)), repeats, busy)}))


if __name__ == "__main__":
    main()
