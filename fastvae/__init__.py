"""fastvae: train variational auto-encoders written in PyMC3 + Theano as fast as the machine allows.

Import it before theano: it picks a device profile, or follows the user's, and repairs the legacy stack.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from fastvae import messages as messages

__version__ = "0.1.0"

# Public names, in the order in which a user meets them, and the modules that define them (imported on first use).
_HOME = {
    "datasets": "fastvae.datasets",
    "ConvVAE": "fastvae.models",
    "MLPVAE": "fastvae.models",
    "VAE": "fastvae.models",
    "load": "fastvae.models",
    "likelihoods": "fastvae.likelihoods",
    "posteriors": "fastvae.posteriors",
    "fit": "fastvae.training",
    "NonFiniteError": "fastvae.errors",
    "CheckpointError": "fastvae.errors",
    "checkpoint": "fastvae.checkpoint",
    "FastvaeError": "fastvae.errors",
    "Minibatch": "fastvae.minibatch",
    "on_disk": "fastvae.datasets.rows",
    "adam": "fastvae.optimizers",
    "schedules": "fastvae.schedules",
    "collect_params": "fastvae.nn.collect",
    "not_trainable": "fastvae.nn.collect",
    "nn": "fastvae.nn",
    "evaluation": "fastvae.evaluation",
    "plots": "fastvae.plots",
    "timing": "fastvae.timing",
    "profiles": "fastvae.profiles",
    "devices": "fastvae.devices",
}
__all__ = list(_HOME)

if TYPE_CHECKING:  # the same names for type checkers and editors, which do not see what `__getattr__` finds
    from fastvae import checkpoint as checkpoint
    from fastvae import datasets as datasets
    from fastvae import devices as devices
    from fastvae import evaluation as evaluation
    from fastvae import likelihoods as likelihoods
    from fastvae import nn as nn
    from fastvae import plots as plots
    from fastvae import posteriors as posteriors
    from fastvae import profiles as profiles
    from fastvae import schedules as schedules
    from fastvae import timing as timing
    from fastvae.datasets.rows import on_disk as on_disk
    from fastvae.errors import CheckpointError as CheckpointError
    from fastvae.errors import FastvaeError as FastvaeError
    from fastvae.errors import NonFiniteError as NonFiniteError
    from fastvae.minibatch import Minibatch as Minibatch
    from fastvae.models import MLPVAE as MLPVAE
    from fastvae.models import VAE as VAE
    from fastvae.models import ConvVAE as ConvVAE
    from fastvae.models import load as load
    from fastvae.nn.collect import collect_params as collect_params
    from fastvae.nn.collect import not_trainable as not_trainable
    from fastvae.optimizers import adam as adam
    from fastvae.training import fit as fit


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastvae' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = importlib.import_module(_HOME[name])
    value = module if _HOME[name] == f"fastvae.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _is_command() -> bool:
    """Whether this is `fastvae ...` or `python -m fastvae ...`, which parse --profile before they start the stack."""
    if sys.argv[:1] == ["-m"]:  # Python is still looking for the module of -m (or -um, ...)
        return re.search(r"(^|\0)-[A-Za-z]*m\0?fastvae(\0|$)", "\0".join(sys.orig_argv)) is not None
    return bool(sys.argv) and os.path.basename(sys.argv[0]) == "fastvae"


if not _is_command():
    from fastvae.stack import start

    start()
    del start
