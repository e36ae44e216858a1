"""Import theano under a profile, and make sure that it took every setting.

theano reads its configuration once, when it is imported: `activated` exports the profile's settings for
that moment and restores the environment, so child processes do not take them for the user's own.
"""

import contextlib
import importlib
import logging
import os

from fastvae import devices
from fastvae.devices import cuda_libraries, cuda_loading, debian_pygpu
from fastvae.errors import ProfileError

# theano sets it once a GPU runs, and then refuses one to every child process, forked or not.
_GPU_MARK = "THEANO_GPU_IS_ALREADY_ACTIVE"

_active = None


def active():
    """The profile in force in this process, or None before theano was imported under one."""
    return _active


@contextlib.contextmanager
def activated(profile, threads=None):
    """Import theano inside this context to have it under the profile; the environment is restored at its end.

    Parameters
    ----------
    profile : Profile
    threads : int, optional
        Number of threads for PoCL (OpenCL on the CPU), which asks for it in the environment when it starts.

    Raises
    ------
    ProfileError
        If theano refused a value, or went on without the device or a value that was asked for.
    """
    global _active
    exported = {"THEANO_FLAGS": profile.flags}
    if threads is not None and "POCL_MAX_PTHREAD_COUNT" not in os.environ:
        exported["POCL_MAX_PTHREAD_COUNT"] = str(threads)
    before = {name: os.environ.get(name) for name in (*exported, _GPU_MARK)}
    if any(profile.settings.get(key, ("",))[0] not in ("", "cpu") for key in ("device", "init_gpu_device", "contexts")):
        _import_pygpu()
    if devices.family(profile.device) == "cuda":
        _load_cuda(profile)
    complaints = _Complaints()
    gpuarray = logging.getLogger("theano.gpuarray")
    gpuarray.addFilter(complaints)
    os.environ.update(exported)
    try:
        yield
    except ValueError as error:
        if not _raised_by_theanos_parser(error):
            raise
        raise ProfileError(
            f"theano refused a setting: {error.args[0]} `fastvae profiles show {profile.name}` says where it is from; "
            "if HOME cannot be written set THEANO_FLAGS=base_compiledir=FOLDER; in a notebook restart the kernel"
        ) from None
    finally:
        gpuarray.removeFilter(complaints)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    _verify(profile, complaints.reasons)
    _active = profile


def _import_pygpu():
    debian_pygpu.install()
    try:
        importlib.import_module("pygpu")
    except ImportError as error:
        raise ProfileError(f"pygpu is installed but cannot be imported ({error}): see `fastvae devices`") from None


def _load_cuda(profile):
    """The chosen libraries; they read how strict to be from the environment, and may do so at any time."""
    os.environ[cuda_loading.OVERRIDE] = cuda_loading.strictness(profile.tf32)
    cxx = profile.settings.get("cxx", ("g++",))[0]
    cuda_loading.load(cuda_libraries.find(profile.device, profile.cuda_path), cxx, profile.tf32)


class _Complaints(logging.Filter):
    """Keeps what theano logs when a device fails to start, where it would print a traceback and go on without it."""

    def __init__(self):
        super().__init__()
        self.reasons = []

    def filter(self, record):
        if record.levelno < logging.ERROR:
            return True
        error = record.exc_info[1] if record.exc_info else None
        self.reasons.append(record.getMessage() + (f" ({type(error).__name__}: {error})" if error else ""))
        return False


def _raised_by_theanos_parser(error):
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return os.path.basename(trace.tb_frame.f_code.co_filename) in ("configparser.py", "configdefaults.py")


def _verify(profile, complaints):
    import theano

    if complaints:
        reason = " ".join(" ".join(complaints).split())
        raise ProfileError(f"device={profile.device} did not start: {reason}; see `fastvae devices`")
    config = theano.config
    for key, got in (("device", config.device), ("floatX", config.floatX), ("blas.ldflags", config.blas.ldflags)):
        asked = "float32" if key == "floatX" else profile.settings[key][0]
        if got != asked:
            raise ProfileError(f"theano runs with {key}={got} instead of {asked}: start a new process")
    if profile.device != "cpu" and not theano.gpuarray.pygpu_activated:
        raise ProfileError(f"device={profile.device} did not start, and theano does not say why: see `fastvae devices`")
