"""Shared variables that live where the step runs, scalars too.

Theano keeps shared scalars on the host, from where each step on a GPU would have to copy them.

Examples
--------
>>> on_device(np.zeros((), "float32"), name="t").get_value()
array(0., dtype=float32)
"""

import numpy as np
import theano


def on_device(value, name=None):
    """A shared variable in the memory of the profile's device, on the host if that is the CPU.

    Parameters
    ----------
    value : numpy.ndarray
    name : str, optional

    Returns
    -------
    theano.compile.SharedVariable
        Its `get_value` gives an array of the host.
    """
    on_gpu = theano.config.device != "cpu"
    return theano.shared(np.asarray(value), name=name, **(dict(target=None) if on_gpu else {}))
