"""Where a model's Ops meet a device.

    abstract        device-free Ops, each defined by one expression of stock Ops
    rewrites        graph rewrites that all backends share: stock convolutions become abstract, neighbours fuse
    cpu             the backend of CPUs: oneDNN and vector code
    gpu             the backend of GPUs: convolutions in cuDNN, Adam in one launch, nothing copied in a step
    compiled_op     what the Ops of all backends have in common
    c_module        how a backend's C code is compiled, loaded and called

A model builds abstract or stock Ops and never asks where it runs. A profile names its backend by the key ``backend``,
and `load` finds it: a folder of that name here, which imports without Theano and has

    DEVICES              the families of devices that it computes on, of `fastvae.devices.family`
    missing()            what it lacks on this machine beside the device, a `Finding`, or None if nothing
    register(profile)    switch it on: from then on Theano's optimizer lowers float32 graphs to it
    stepping(step, profile, ranks)   what a training calls in place of a compiled step; one without it leaves the step
    prepare_ranks(ranks, profile)    let ranks average on a device that is not the CPU; one without it cannot

Examples
--------
>>> names()
['cpu', 'gpu']
>>> load("gpu").DEVICES
('cuda', 'opencl')
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from fastvae.errors import ConfigurationError
from fastvae.parallel import ALONE, Ranks

SHARED = ("abstract", "rewrites")  # folders that are no backend


def names() -> list[str]:
    """The names of all backends."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg and found.name not in SHARED)


def load(name: str) -> Any:
    """The backend of this name, as described above.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if name not in names():
        raise ConfigurationError(f"there is no backend {name!r}; admissible are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def stepping(step: Callable, profile: Any, ranks: Ranks = ALONE) -> Callable:
    """What a training calls in place of a compiled step: it computes the same, in the way that suits the device.

    Parameters
    ----------
    step : theano.compile.Function
    profile : fastvae.profiles.Profile
        The one in force.
    ranks : fastvae.parallel.Ranks
        Those that train together.
    """
    wrapped = None if profile.backend == "stock" else getattr(load(profile.backend), "stepping", None)
    return step if wrapped is None else wrapped(step, profile, ranks)


def prepare_ranks(ranks: Ranks, profile: Any) -> None:
    """Let ranks average on the profile's device (collective).

    Parameters
    ----------
    ranks : fastvae.parallel.Ranks
    profile : fastvae.profiles.Profile
        The one in force.

    Raises
    ------
    ConfigurationError
        If they cannot.
    """
    if profile.device == "cpu":
        return
    prepare = None if profile.backend == "stock" else getattr(load(profile.backend), "prepare_ranks", None)
    if prepare is None:
        raise ConfigurationError(
            f"parallel: ranks train on device={profile.device} with the backend gpu alone, not with {profile.backend}: "
            "leave fastvae.backend unset, or take the profile cpu"
        )
    prepare(ranks, profile)
