"""Running out of memory, the machine's or a GPU's, as an error of one line that says what to lower.

theano raises MemoryError, or pygpu's GpuArrayException with libgpuarray's message, such as ``b'cuMemAlloc:
CUDA_ERROR_OUT_OF_MEMORY: out of memory'``, followed by pages about the node and its inputs.

Examples
--------
>>> ran_out(MemoryError()), ran_out(RuntimeError("CUDNN_STATUS_ALLOC_FAILED")), ran_out(ValueError("no"))
(True, True, False)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fastvae.errors import FastvaeError, OutOfMemoryError
from fastvae.profiles.activation import active

P = ParamSpec("P")
R = TypeVar("R")

# How libgpuarray, CUDA, cuBLAS, cuDNN, OpenCL and the C library say it.
WORDS = re.compile(
    "out of (host )?memory|out of resources|OUT_OF_MEMORY|ALLOC_FAILED|allocation failure|cannot allocate",
    re.IGNORECASE,
)


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that memory ran out."""
    return isinstance(error, MemoryError) or WORDS.search(str(error)) is not None


def message(owner: str, error: BaseException, batch_size: object = None) -> str:
    """One line: whose call it was, what the library said, and what to lower."""
    said = (str(error).splitlines() or [""])[0]
    said = re.sub(r"""^b(['"])(.*)\1$""", r"\2", said) or type(error).__name__
    profile = active()
    where = "" if profile is None else f" under the profile {profile.name!r}, device {profile.device}"
    now = "" if batch_size is None else f" (now {batch_size})"
    return (
        f"{owner}: out of memory{where} ({said}): lower batch_size{now}, n_samples or the size of the network, stream "
        "the images from disk (fastvae.on_disk), or take another profile"
    )


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that computes on the device, so that it raises OutOfMemoryError when memory runs out."""

    owner = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def explaining(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except FastvaeError:
            raise
        except Exception as error:
            if not ran_out(error):
                raise
            raise OutOfMemoryError(message(owner, error, kwargs.get("batch_size"))) from error

    return explaining
