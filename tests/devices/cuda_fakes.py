"""Folders of fake CUDA libraries that say what a test wants: versions, and how they fail."""

from tests.cuda_device import CUDNN_PARTS, HERE, compile_library

NVRTC = """
int nvrtcVersion(int *major, int *minor) { *major = MAJOR; *minor = MINOR; return 0; }
const char *nvrtcGetErrorString(int status) { return "NVRTC_ERROR_INVALID_OPTION"; }
int nvrtcCreateProgram(void **program) { return 0; }
int nvrtcCompileProgram(void *program, int n, const char **options) { return STATUS; }
"""
CUBLAS = "int cublasGetProperty(int part, int *value) { *value = part ? part + 3 : MAJOR; return 0; }"
CUDNN = """
unsigned long cudnnGetVersion(void) { return VERSION; }
unsigned long cudnnGetCudartVersion(void) { return CUDA; }
"""

NCCL = "int ncclGetVersion(int *version) { *version = 22705; return 0; }"


def _compiled(folder, name, text, **macros):
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{name}.c"
    source.write_text(text)
    compile_library(source, folder / name, *(f"-D{key}={value}" for key, value in macros.items()))
    source.unlink()
    return folder / name


def nvrtc(folder, major, minor, status=0, builtins=True):
    """An nvrtc of some version; a `status` other than 0 is what its compiler ends with."""
    if builtins:
        _compiled(folder, f"libnvrtc-builtins.so.{major}.{minor}", "int nothing;")
    return str(_compiled(folder, f"libnvrtc.so.{major}", NVRTC, MAJOR=major, MINOR=minor, STATUS=status))


def cublas(folder, major):
    """A cuBLAS, version MAJOR.4.5."""
    return str(_compiled(folder, f"libcublas.so.{major}", CUBLAS, MAJOR=major))


def nccl(folder):
    """An NCCL, version 2.27.5."""
    return str(_compiled(folder, "libnccl.so.2", NCCL))


def cudnn(folder, version=91002, cuda=12090, parts=CUDNN_PARTS):
    """A cuDNN for some CUDA, of some parts."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        compile_library(HERE / "empty.c", folder / f"libcudnn_{part}.so.9")
    return str(_compiled(folder, "libcudnn.so.9", CUDNN, VERSION=version, CUDA=cuda))
