"""Schedules: values that change from step to step, without a new compilation.

A schedule is a theano scalar, computed in the step's own graph from a counter that the step counts up. It goes wherever
a theano scalar goes: the learning rate of `fastvae.adam`, the `kl_weight` of `fastvae.fit`, an expression of your own.
The counter is a shared variable like any other, so that a checkpoint holds it.

    linear         a straight line: a warm-up
    cosine         half a wave: a decay that begins and ends flat
    exponential    a constant factor a step

Schedules combine by arithmetic, as any expressions do. One schedule serves one fit: a second fit goes on where the
first ended. For a weight that your own code sets, ``theano.shared(np.float32(0))`` serves; `set_value` changes it.

Examples
--------
>>> import theano
>>> weight = linear(0, 1, steps=4)
>>> step = theano.function([], weight)
>>> [float(step()) for _ in range(6)]
[0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
>>> warm_up_and_decay = linear(0, 1, steps=100) * cosine(1e-3, 1e-5, steps=10_000)
"""

import math

import numpy as np
import theano
import theano.tensor as tt

from fastvae import kinds
from fastvae.nn.collect import not_trainable

VALUE = kinds.number()


@kinds.checked(start=VALUE, stop=VALUE, steps=kinds.integer())
def linear(start, stop, steps):
    """From `start` to `stop` in a straight line over `steps` steps, then `stop`.

    Parameters
    ----------
    start, stop : float
        Values at step 0, the first, and from step number `steps` on.
    steps : int

    Returns
    -------
    theano.tensor.TensorVariable
        Float32 scalar.

    Raises
    ------
    ConfigurationError
        If a value is not finite, or `steps` is not an integer of at least 1.

    Examples
    --------
    >>> kl_weight = linear(0, 1, steps=1_000)  # the KL fades in over the first 1,000 steps
    """
    start, stop = np.float32(start), np.float32(stop)
    return start + (stop - start) * _progress(steps)


@kinds.checked(start=VALUE, stop=VALUE, steps=kinds.integer())
def cosine(start, stop, steps):
    """As `linear`, but along half a cosine wave, flat at both ends.

    Notes
    -----
    Loshchilov and Hutter, 2016, "SGDR", arXiv:1608.03983, equation 5, without restarts.

    Examples
    --------
    >>> import theano
    >>> step = theano.function([], cosine(1, 0, steps=2))
    >>> [round(float(step()), 6) for _ in range(4)]
    [1.0, 0.5, 0.0, 0.0]
    """
    start, stop = np.float32(start), np.float32(stop)
    wave = np.float32(0.5) * (np.float32(1) + tt.cos(np.float32(math.pi) * _progress(steps)))
    return stop + (start - stop) * wave


@kinds.checked(start=VALUE, factor=kinds.number(above=0, like=0.999))
def exponential(start, factor):
    """`start` times `factor` to the power of the step number, from 0; as `linear` a float32 scalar.

    Parameters
    ----------
    start : float
    factor : float
        Above 0 (ConfigurationError otherwise): 0.999 halves the value every 693 steps.

    Examples
    --------
    >>> import theano
    >>> step = theano.function([], exponential(1, 0.5))
    >>> [float(step()) for _ in range(3)]
    [1.0, 0.5, 0.25]
    """
    start, factor = np.float32(start), np.float32(factor)
    return start * tt.exp(np.float32(math.log(factor)) * _counter())


def _counter():
    """How many calls of the function that computes it came before: float32, exact below 2**24."""
    steps = not_trainable(theano.shared(np.int64(0), name="schedule.step"))
    steps.default_update = steps + 1
    return tt.cast(steps, "float32")


def _progress(steps):
    return tt.minimum(_counter() / np.float32(steps), np.float32(1))
