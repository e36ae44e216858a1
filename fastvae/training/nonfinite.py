"""Losses and parameters that are not finite: naming the first bad one, and skipping such steps.

Examples
--------
>>> import theano
>>> first_bad([theano.shared(np.float32(1), name="a"), theano.shared(np.float32(np.inf), name="b")])
"'b'"
"""

from __future__ import annotations

import os
from typing import Any, Sequence

import numpy as np
import theano
import theano.tensor as tt

from fastvae.errors import NonFiniteError


def first_bad(params: Sequence[Any]) -> str | None:
    """The name of the first parameter that is not finite (its place and shape if it has none), or None."""
    for i, param in enumerate(params):
        value = param.get_value(borrow=True)
        if not np.isfinite(value).all():
            return repr(param.name) if param.name else f"parameter {i} of shape {np.shape(value)}"
    return None


def error(
    what: str, step: int, params: Sequence[Any], approx: Any, last_good: str | os.PathLike | None = None
) -> NonFiniteError:
    """The error that ends a run, its message one line.

    Parameters
    ----------
    what : str
        For example ``"the loss became nan"``.
    step : int
        At which it did; 0 is before the first.
    params : list of theano.compile.SharedVariable
    approx : pymc3.Approximation
    last_good : path-like, optional
        The last checkpoint.

    Returns
    -------
    NonFiniteError
    """
    bad = first_bad(params)
    where = "all parameters are still finite" if bad is None else f"the first that is not finite is {bad}"
    good = "" if last_good is None else f"; the last good state is in {last_good}"
    advice = "try a smaller learning rate, or the profile `debug` to find the Op"
    if step == 0:
        return NonFiniteError(f"before the first step the value of {bad} is not finite: give other values", approx)
    return NonFiniteError(f"{what} at step {step}; {where}; {advice}{good}", approx)


def skip_bad_steps(loss: theano.Variable, updates: dict) -> tuple[theano.Variable, dict]:
    """A step that changes nothing where the loss or a new value would not be finite.

    Parameters
    ----------
    loss : theano scalar
    updates : dict
        New value of every parameter and state of the optimizer. Random streams and minibatches move on, so that the
        next step is another one.

    Returns
    -------
    loss : theano scalar
        NaN for a step that was skipped.
    updates : dict
        A skipped step keeps every value as it is.

    Examples
    --------
    >>> import theano
    >>> x, rate = theano.shared(np.float32(1)), tt.fscalar()
    >>> loss, updates = skip_bad_steps(x, {x: x + rate})
    >>> step = theano.function([rate], loss, updates=updates)
    >>> [float(step(rate)) for rate in (1, np.inf, 1)], float(x.get_value())
    ([1.0, nan, 2.0], 3.0)
    """
    floats = [new for new in updates.values() if getattr(new, "dtype", "").startswith("float")]
    good = tt.all(tt.stack([_is_finite(value) for value in (loss, *floats)]))
    guarded = {
        shared: new
        if getattr(shared.tag, "is_rng", False)
        else tt.patternbroadcast(tt.switch(good, new, shared), shared.broadcastable)
        for shared, new in updates.items()
    }
    return tt.switch(good, loss, np.array(np.nan, loss.dtype)), type(updates)(guarded)


def _is_finite(value):
    return tt.invert(tt.any(tt.or_(tt.isnan(value), tt.isinf(value))))
