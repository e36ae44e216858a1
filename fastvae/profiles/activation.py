"""Import theano under a profile, and make sure that it accepted every setting.

theano reads its configuration once, when it is imported. `activated` exports the profile's settings for that moment and
then restores the environment, so that child processes do not take them for the user's own.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastvae import devices
from fastvae.devices import cuda_libraries, cuda_loading, debian_pygpu
from fastvae.errors import ProfileError

if TYPE_CHECKING:
    from fastvae.profiles import Profile

# theano sets this variable once a GPU is in use, and then no child process, forked or not, may use one.
_GPU_MARK = "THEANO_GPU_IS_ALREADY_ACTIVE"

_active: Profile | None = None


def active() -> Profile | None:
    """The profile in force in this process; None until theano was imported under one."""
    return _active


@contextlib.contextmanager
def activated(profile: Profile, threads: int | None = None) -> Iterator[None]:
    """Import theano inside this context to run it under the profile; the environment is restored at the end.

    Parameters
    ----------
    profile : Profile
    threads : int, optional
        Number of threads for PoCL (OpenCL on the CPU), which reads it from the environment when it starts.

    Raises
    ------
    ProfileError
        If theano rejects a value, or goes on without the device or a value that was asked for.
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


def _import_pygpu() -> None:
    debian_pygpu.install()
    try:
        importlib.import_module("pygpu")
    except ImportError as error:
        raise ProfileError(f"pygpu is installed but cannot be imported ({error}): see `fastvae devices`") from None


def _load_cuda(profile: Profile) -> None:
    """Load the chosen libraries. The variable stays set, because they may read it at any time."""
    os.environ[cuda_loading.OVERRIDE] = cuda_loading.strictness(profile.tf32)
    cxx = profile.settings.get("cxx", ("g++",))[0]
    cuda_loading.load(cuda_libraries.find(profile.device, profile.cuda_path), cxx, profile.tf32)


class _Complaints(logging.Filter):
    """Collects what theano logs when a device fails to start, which it does with a traceback before it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return True
        error = record.exc_info[1] if record.exc_info else None
        self.reasons.append(record.getMessage() + (f" ({type(error).__name__}: {error})" if error else ""))
        return False


def _raised_by_theanos_parser(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return os.path.basename(frames[-1].f_code.co_filename) in ("configparser.py", "configdefaults.py")


def _verify(profile: Profile, complaints: list[str]) -> None:
    """Raise ProfileError unless theano runs with what the profile asks for."""
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
