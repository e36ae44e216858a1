"""A CUDA device that is this machine's processor: driver, cuBLAS, cuDNN and NCCL for the real libgpuarray and nvrtc.

Kernels run: the driver decodes the PTX that nvrtc makes and takes each instruction for 32 lanes at once (`ptx/`).
Launches, copies, synchronisations, allocations and library calls are counted. Work in a stream waits until somebody
waits for it; a stream that is captured as a CUDA graph keeps it (`graphs.c`). cuBLAS and cuDNN (`libraries/`) sum in
float64, round float32 operands where their math mode lets TF32 in, and refuse what the real ones refuse.

NCCL (`libraries/nccl.c`) sums between processes; TEST_DEVICE_DEVICES=2 gives two of them a device each.

    build       compile the driver and the libraries into a folder
    environ     the variables under which a process of its own finds them
    counts      in that process: what was called since `reset()`
    findings    in that process, under TEST_DEVICE_CHECK=1: what was wrong
    order       in that process: another seed of the random order
    launches    what a process wrote to TEST_DEVICE_LOG: each operation with its bytes and FLOP

Variables of that process: TEST_DEVICE_CHECK=1 (bounds, alignment, use after free, reads of what nobody wrote, races,
barriers that not all threads reach, pinned memory read before a synchronisation; wants CHECKING_FLAGS too),
TEST_DEVICE_ORDER=seed (a random order of blocks, warps, lanes and streams), TEST_DEVICE_LOG=file,
TEST_DEVICE_EXECUTE=0 (kernels and libraries' calls compute nothing: the time is the host's).
TEST_DEVICE_CACHE, where it is built: a folder that keeps what was compiled, by its content.
"""

import ctypes
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).parent
FLAGS = "-shared -fPIC -O1 -Wall -Werror -Wno-unused-parameter".split()
# Floats as they are written: no product joined with a sum, overflow that wraps.
DRIVER_FLAGS = (
    *"-O2 -ftree-vectorize -march=native -fno-math-errno -fno-trapping-math -fno-strict-aliasing".split(),
    *("-ffp-contract=off", "-fwrapv", f"-Wl,--version-script={HERE / 'driver.map'}"),
)
DRIVER = sorted({*HERE.glob("*.c"), *HERE.glob("ptx/*.c")} - {HERE / "empty.c"})
LIBRARY_FLAGS = "-O2 -march=native".split()
SHARED = [HERE / name for name in ("counters.c", "libraries/library.c", "libraries/products.c")]
CUDNN_PARTS = ("graph", "ops", "cnn", "engines_precompiled", "engines_runtime_compiled", "heuristic")
LIBRARIES = {
    "driver": "driver/libcuda.so.1",
    "cublas": "cuda/libcublas.so.{}",
    "cudnn": "cuda/libcudnn.so.9",
    "nccl": "cuda/libnccl.so.2",
}
# What theano's stock cuDNN Ops need beside: headers, and the plain name to link; and none of fastvae's rewrites.
STOCK = (
    "dnn.enabled=True,dnn.include_path={include},cuda.include_path={include},"
    "dnn.library_path={cuda},dnn.bin_path={cuda},optimizer_excluding=fastvae_gpu"
)

# Under TEST_DEVICE_CHECK=1: every array is an allocation of its own.
CHECKING_FLAGS = "gpuarray.preallocate=-1"

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
    """Compile the driver and the libraries, of one major version of CUDA, into `folder` and return it."""
    for name in ("driver", "cuda"):
        (folder / name).mkdir()
    driver = build_driver(folder / "driver")
    for name in ("cublas", "cudnn", "nccl"):
        sources = [*sorted(HERE.glob(f"libraries/{name}*.c")), *SHARED]
        flags = *LIBRARY_FLAGS, f"-DCUDA_MAJOR={cuda}"
        _built(sources, folder / LIBRARIES[name].format(cuda), flags, linked=[driver, "-lm"])
    for part in CUDNN_PARTS:
        compile_library(HERE / "empty.c", folder / f"cuda/libcudnn_{part}.so.9")
    (folder / "cuda/libcudnn.so").symlink_to("libcudnn.so.9")
    return folder


def build_driver(folder):
    """Compile the driver into a folder, or take it from TEST_DEVICE_CACHE."""
    return _built(DRIVER, folder / "libcuda.so.1", DRIVER_FLAGS, linked=["-lm"])


def _built(sources, library, flags, linked):
    """`compile_library`, or what TEST_DEVICE_CACHE keeps of the same content."""
    cache = os.environ.get("TEST_DEVICE_CACHE")
    if not cache:
        return compile_library(sources[0], library, *flags, more=sources[1:], linked=linked)
    about = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line for line in about if line.startswith(("flags", "Features"))), "")  # for -march=native
    content = [" ".join([library.name, *flags, processor]).encode()]
    content += [path.read_bytes() for path in (*sorted(HERE.rglob("*.h")), *sources)]
    kept = pathlib.Path(cache) / f"{hashlib.sha256(b''.join(content)).hexdigest()[:20]}.so"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            made = compile_library(
                sources[0], pathlib.Path(work) / library.name, *flags, more=sources[1:], linked=linked
            )
            os.replace(made, kept)  # two processes may do it at once
    return shutil.copy(kept, library)


def compile_library(source, library, *flags, more=(), linked=()):
    """C files to a shared library that bears its file's name."""
    own_name = f"-Wl,-soname,{library.name}"
    command = ["gcc", *FLAGS, *flags, own_name, "-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN/../driver", "-o", library]
    subprocess.run([str(part) for part in (*command, source, *more, *linked)], check=True)
    return library


def environ(folder):
    """The variables under which a process finds them, and takes the profile `cuda`."""
    return {
        "LD_LIBRARY_PATH": str(folder / "driver"),
        "FASTVAE_CUDA_PATH": str(folder / "cuda"),
        "FASTVAE_PROFILE": "cuda",
        "TEST_DEVICE": str(folder),
    }


def stock_flags(folder):
    """The THEANO_FLAGS under which theano's own cuDNN Ops compile against these libraries."""
    return STOCK.format(include=HERE / "include", cuda=folder / "cuda")


def _libraries():
    folder = pathlib.Path(os.environ["TEST_DEVICE"])
    return [ctypes.CDLL(str(*folder.glob(library.format("1?")))) for library in LIBRARIES.values()]


def _text_of(function, size=1 << 20):
    text = ctypes.create_string_buffer(size)
    function(text, ctypes.c_size_t(size))
    return text.value.decode()


def living_graphs():
    """How many CUDA graphs nobody has destroyed yet."""
    return _libraries()[0].device_living_graphs()


def findings():
    """What was wrong since the last call, a list of lines; empty without TEST_DEVICE_CHECK=1."""
    driver = _libraries()[0]
    driver.device_finish()
    return _text_of(driver.device_findings).splitlines()


def order(seed):
    """Let blocks, warps, lanes and streams come in the random order of another seed from now on; None: in turn."""
    _libraries()[0].device_order(None if seed is None else str(seed).encode())


def launches(log):
    """The operations in a file of TEST_DEVICE_LOG, in the order in which they ran.

    A dict each: `name`, `module` (of a kernel, whose name may be that of others: its PTX, hashed), `grid` and `block`
    (0, 0, 0 for a copy or a library's call), unique bytes `read` and `written`, `flop`.
    """
    with open(log) as lines:
        return [json.loads(line) for line in lines]


def reset():
    """Set every counter to zero."""
    for library in _libraries():
        library.device_reset()


def counts():
    """Every counter above zero, a dict of function to number of calls."""
    found = {}
    for library in _libraries():
        lines = _text_of(library.device_counts).split()
        found.update((name, int(n)) for name, n in (line.split("=") for line in lines))
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
    """The tests' cuDNN, which tells its `device_streams` and `device_descriptors`."""
    return _libraries()[2]
