"""A CUDA device of no device: a stub driver, cuBLAS and cuDNN for the real libgpuarray, pygpu and nvrtc.

Every kernel is compiled and none runs; launches, copies, synchronisations, allocations and library calls are counted.
Results are garbage, except those of cuDNN's convolutions if told to compute (`cudnn()`, or TEST_DEVICE_COMPUTE=1).
Memory and copies are real.

    build       compile the stubs into a folder
    environ     the variables under which a process of its own finds them
    counts      in that process: what was called since `reset()`
"""

import ctypes
import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).parent
FLAGS = "-shared -fPIC -O2 -march=native -Wall -Werror -Wno-unused-parameter".split()
CUDNN_PARTS = ("graph", "ops", "cnn", "engines_precompiled", "engines_runtime_compiled", "heuristic")
LIBRARIES = {"driver": "driver/libcuda.so.1", "cublas": "cuda/libcublas.so.{}", "cudnn": "cuda/libcudnn.so.9"}
SHARED = {"driver": ("counters.c",), **dict.fromkeys(("cublas", "cudnn"), ("counters.c", "library.c", "products.c"))}
# What theano's stock cuDNN Ops need beside: headers, and the plain name to link; and none of fastvae's rewrites.
STOCK = (
    "dnn.enabled=True,dnn.include_path={include},cuda.include_path={include},"
    "dnn.library_path={cuda},dnn.bin_path={cuda},optimizer_excluding=fastvae_gpu"
)

# One step's figure out of the counters: the functions that are counted together.
FIGURES = {
    "launches": ("cuLaunchKernel",),
    "host_to_device": ("cuMemcpyHtoD_v2", "cuMemcpyHtoDAsync_v2"),
    "device_to_host": ("cuMemcpyDtoHAsync_v2",),
    "synchronisations": ("cuStreamSynchronize",),
    "allocations": ("cuMemAlloc_v2", "cuMemAllocHost_v2"),
    "convolutions": (
        *("cudnnConvolutionForward", "cudnnConvolutionBiasActivationForward"),
        *("cudnnConvolutionBackwardData", "cudnnConvolutionBackwardFilter"),
    ),
    "products": ("cublasSgemm_v2",),
}


def build(folder, cuda=12):
    """Compile the stubs, of one major version of CUDA, into `folder` and return it."""
    for name in ("driver", "cuda"):
        (folder / name).mkdir()
    driver = folder / LIBRARIES["driver"]
    for name, library in LIBRARIES.items():
        first, *others = [*sorted(HERE.glob(f"{name}*.c")), *(HERE / shared for shared in SHARED[name])]
        needed = [] if name == "driver" else [driver, "-lm"]
        compile_library(first, folder / library.format(cuda), *others, *needed, f"-DCUDA_MAJOR={cuda}")
    for part in CUDNN_PARTS:
        compile_library(HERE / "empty.c", folder / f"cuda/libcudnn_{part}.so.9")
    (folder / "cuda/libcudnn.so").symlink_to("libcudnn.so.9")
    return folder


def compile_library(source, library, *more):
    """One C file, and whatever else gcc is to take, to a shared library that bears its file's name."""
    own_name = f"-Wl,-soname,{library.name}"
    subprocess.run(["gcc", *FLAGS, own_name, "-o", library, source, *more], check=True)


def environ(folder):
    """The variables under which a process finds the stubs, and takes the profile `cuda`."""
    return {
        "LD_LIBRARY_PATH": str(folder / "driver"),
        "FASTVAE_CUDA_PATH": str(folder / "cuda"),
        "FASTVAE_PROFILE": "cuda",
        "TEST_DEVICE": str(folder),
    }


def stock_flags(folder):
    """The THEANO_FLAGS under which theano's own cuDNN Ops compile against the stubs."""
    return STOCK.format(include=HERE / "include", cuda=folder / "cuda")


def _stubs():
    folder = pathlib.Path(os.environ["TEST_DEVICE"])
    return [ctypes.CDLL(str(*folder.glob(library.format("1?")))) for library in LIBRARIES.values()]


def reset():
    """Set every counter to zero."""
    for stub in _stubs():
        stub.device_reset()


def counts():
    """Every counter above zero, a dict of function to number of calls."""
    found = {}
    for stub in _stubs():
        text = ctypes.create_string_buffer(1 << 16)
        stub.device_counts(text, ctypes.c_size_t(len(text)))
        found.update((name, int(n)) for name, n in (line.split("=") for line in text.value.decode().split()))
    return found


def figures(counted):
    """The counters in a step's own terms: launches, copies, synchronisations, allocations, convolutions, products."""
    return {name: sum(counted.get(function, 0) for function in functions) for name, functions in FIGURES.items()}


def without_host_code():
    """Let theano's Ops on the host run in Python, so that C is compiled for the device's alone; no figure changes."""
    from theano.compile.ops import Rebroadcast, Shape, Shape_i
    from theano.gof import Op
    from theano.tensor import Join, Reshape
    from theano.tensor.elemwise import CAReduce, DimShuffle, Elemwise
    from theano.tensor.opt import Assert, MakeVector
    from theano.tensor.subtensor import Subtensor

    shapes = (Assert, Join, MakeVector, Rebroadcast, Reshape, Shape, Shape_i, Subtensor)
    for host in (CAReduce, DimShuffle, Elemwise, *shapes):
        host.c_code = Op.c_code


def cudnn():
    """The stub cuDNN, with its switches `device_compute`, `device_streams` and `device_descriptors`."""
    return _stubs()[2]
