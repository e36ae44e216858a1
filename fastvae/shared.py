"""Shared variables that live on the device that runs the step, scalars included.

Theano keeps shared scalars on the host, so each step on a GPU would have to copy them from there.

Examples
--------
>>> on_device(np.zeros((), "float32"), name="t").get_value()
array(0., dtype=float32)
"""

from __future__ import annotations

import numpy as np
import theano
from theano.compile import SharedVariable


def on_device(value: np.ndarray, name: str | None = None) -> SharedVariable:
    """A shared variable in the memory of the active profile's device: a GPU's, or the host's for the CPU.

    Parameters
    ----------
    value : numpy.ndarray
    name : str, optional

    Returns
    -------
    theano.compile.SharedVariable
        Its `get_value` returns an array on the host.
    """
    on_gpu = theano.config.device != "cpu"
    return theano.shared(np.asarray(value), name=name, **(dict(target=None) if on_gpu else {}))
