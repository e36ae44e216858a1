"""Schedules: values that change from step to step without a new compilation.

A schedule is a theano scalar, computed in the step's own graph from a counter that each step increments. Use it
wherever a theano scalar is taken: as the learning rate of `fastvae.adam`, as the `kl_weight` of `fastvae.fit`, or in an
expression of your own. The counter is a shared variable like any other, so checkpoints contain it.

    linear         a straight line, such as a warm-up
    cosine         half a cosine wave, such as a decay that begins and ends flat
    exponential    a constant factor per step

Schedules are combined by arithmetic, as all expressions are. A schedule belongs to one fit: a second fit would continue
where the first ended. A weight that your own code sets needs no schedule: take ``theano.shared(np.float32(0))`` and
change it with `set_value`.

Examples
--------
>>> import theano
>>> weight = linear(0, 1, steps=4)
>>> step = theano.function([], weight)
>>> [float(step()) for _ in range(6)]
[0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
>>> warm_up_and_decay = linear(0, 1, steps=100) * cosine(1e-3, 1e-5, steps=10_000)
"""

from __future__ import annotations

import math

import numpy as np
import theano
import theano.tensor as tt

from fastvae import kinds
from fastvae.nn.collect import not_trainable

VALUE = kinds.number()


@kinds.checked(start=VALUE, stop=VALUE, steps=kinds.integer())
def linear(start: float, stop: float, steps: int) -> tt.TensorVariable:
    """From `start` to `stop` in a straight line over `steps` steps, then `stop`.

    Parameters
    ----------
    start, stop : float
        The values at step 0, which is the first, and from step `steps` on.
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
def cosine(start: float, stop: float, steps: int) -> tt.TensorVariable:
    """Like `linear`, but along half a cosine wave, which is flat at both ends.

    Parameters
    ----------
    start, stop, steps
        As for `linear`.

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
def exponential(start: float, factor: float) -> tt.TensorVariable:
    """`start` times `factor` to the power of the step's number, which counts from 0; a float32 scalar, as of `linear`.

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


def _counter() -> tt.TensorVariable:
    """The number of earlier calls of the function that computes it; float32, so exact below 2**24."""
    steps = not_trainable(theano.shared(np.int64(0), name="schedule.step"))
    steps.default_update = steps + 1
    return tt.cast(steps, "float32")


def _progress(steps: int) -> tt.TensorVariable:
    return tt.minimum(_counter() / np.float32(steps), np.float32(1))
