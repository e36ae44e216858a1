"""Optimizers with PyMC3's calling convention, whose updates pass over memory only a few times.

    adam             one fused Op for each parameter
    adagrad_window   PyMC3's default; the squares of each step are contiguous in memory
    recognised       the one of these that computes the same as an optimizer of PyMC3's

PyMC3's other optimizers (`pm.sgd`, `pm.momentum`, `pm.nesterov_momentum`, `pm.adagrad`, `pm.rmsprop`, `pm.adadelta`,
`pm.adamax`) and a user's own work as they are: the profile `cpu` runs their passes over large parameters as threaded
vector code.

Examples
--------
>>> import fastvae
>>> optimizer = fastvae.adam(learning_rate=1e-4)  # hand it to `fit` as obj_optimizer
>>> callable(optimizer)
True
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from pymc3.variational.updates import get_or_compute_grads
from theano.compile import SharedVariable

from fastvae import expressions, kinds
from fastvae.backends.abstract import AdamStep
from fastvae.errors import ConfigurationError
from fastvae.shared import on_device

SMALL = 2**16  # elements of a parameter that shares an Op with others
RATE = "learning_rate"  # the one setting that may be a theano scalar


KINDS = dict(
    loss_or_grads=kinds.optional(
        kinds.either(expressions.loss, kinds.sequence(expressions.tensor, "gradients, one for each parameter"))
    ),
    params=kinds.optional(expressions.shared_list),
    learning_rate=expressions.scalar(above=0),
)
KEPT = kinds.number(minimum=0, below=1)


@kinds.checked(
    **KINDS,
    beta1=KEPT,
    beta2=KEPT,
    epsilon=kinds.number(minimum=0),
)
def adam(
    loss_or_grads: Any = None,
    params: Sequence[SharedVariable] | None = None,
    learning_rate: Any = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Any:
    """Adam updates, as `pymc3.updates.adam`: one threaded pass over memory for each parameter, if the backend has one.

    Parameters
    ----------
    loss_or_grads : theano scalar or list of theano expressions, optional
        The loss, or its gradient with respect to every parameter.
    params : list of shared variables, optional
        What is trained. Without `loss_or_grads` and `params` the optimizer itself is returned, with its settings fixed.
    learning_rate : float, theano scalar or schedule of `fastvae.schedules`, above 0
        A shared scalar can be changed between steps (`set_value`).
    beta1, beta2 : float in [0, 1)
        How much of the mean gradient, and of its mean square, is kept from step to step.
    epsilon : float, at least 0
        Added to the root mean square, against division by 0.

    Returns
    -------
    OrderedDict or callable
        The new values of all parameters, of their moments and of the step count, for `theano.function(updates=...)`; or
        an optimizer `(loss_or_grads, params) -> OrderedDict`.

    Raises
    ------
    ConfigurationError
        If an argument is invalid, or only one of `loss_or_grads` and `params` is given.

    Notes
    -----
    Kingma and Ba, 2014, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980, with the order of operations at
    the end of its section 2, as in PyMC3. The learning rate does not decay by itself: give a schedule for that.

    Examples
    --------
    >>> import numpy as np, theano
    >>> w = theano.shared(np.float32(1))
    >>> step = theano.function([], updates=adam((w - 3) ** 2, [w], learning_rate=0.1))
    >>> for _ in range(3):
    ...     _ = step()
    >>> round(float(w.get_value()), 2)
    1.3
    """
    if loss_or_grads is None and params is None:
        return partial(adam, learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    gradients = _gradients("adam", loss_or_grads, params)
    previous = on_device(np.zeros((), "float32"), name="adam.t")
    t, one = previous + np.float32(1), np.float32(1)
    correction = tt.sqrt(one - np.float32(beta2) ** t) / (one - np.float32(beta1) ** t)
    rate = tt.cast(learning_rate, "float32") * correction
    step, updates = AdamStep(float(beta1), float(beta2), float(epsilon)), OrderedDict()
    for group in _groups(params, gradients):
        inputs = []
        for param, gradient in group:
            like, pattern = param.get_value(borrow=True), param.broadcastable
            m, v = (
                theano.shared(np.zeros_like(like), f"adam.{moment}({param.name})", broadcastable=pattern, borrow=True)
                for moment in "mv"
            )
            inputs += [param, tt.patternbroadcast(tt.cast(gradient, param.dtype), param.broadcastable), m, v]
        dtype = group[0][0].dtype
        updates.update(zip(step.updated(inputs), step(tt.cast(rate, dtype), *inputs, return_list=True)))
    updates[previous] = t
    return updates


@kinds.checked(**KINDS, epsilon=kinds.number(above=0, like=0.1), n_win=kinds.size)
def adagrad_window(
    loss_or_grads: Any = None,
    params: Sequence[SharedVariable] | None = None,
    learning_rate: Any = 0.001,
    epsilon: float = 0.1,
    n_win: int = 10,
) -> Any:
    """AdaGrad updates over a window of steps, as `pymc3.adagrad_window`, the default of `pm.fit`.

    Parameters
    ----------
    loss_or_grads : theano scalar or list of theano expressions, optional
        The loss, or its gradient with respect to every parameter.
    params : list of shared variables, optional
        What is trained. Without `loss_or_grads` and `params` the optimizer itself is returned, with its settings fixed.
    learning_rate : float, theano scalar or schedule of `fastvae.schedules`, above 0
    epsilon : float, above 0
        Added to the sum of squares, against division by 0.
    n_win : int
        The number of steps whose squared gradients are summed.

    Returns
    -------
    OrderedDict or callable
        As of `adam`.

    Raises
    ------
    ConfigurationError
        If an argument is invalid, or only one of `loss_or_grads` and `params` is given.

    Notes
    -----
    It keeps `n_win` squares of every parameter, by default ten times the memory of the parameters, and reads all of
    them in every step: not for large networks, for which `adam` is faster. The values and the shapes of the state are
    PyMC3's; in memory the window is the slowest axis, so that each step writes one contiguous block.

    Examples
    --------
    >>> import numpy as np, theano
    >>> w = theano.shared(np.float32(1))
    >>> step = theano.function([], updates=adagrad_window((w - 3) ** 2, [w], learning_rate=0.1))
    >>> step()
    []
    >>> round(float(w.get_value()), 3)
    1.1
    """
    if loss_or_grads is None and params is None:
        return partial(adagrad_window, learning_rate=learning_rate, epsilon=epsilon, n_win=n_win)
    gradients = _gradients("adagrad_window", loss_or_grads, params)
    rate, updates = tt.cast(learning_rate, "float32"), OrderedDict()
    for param, gradient in zip(params, gradients):
        place = on_device(np.zeros((), "float32"))
        shape = param.get_value(borrow=True).shape
        squares = theano.shared(np.moveaxis(np.zeros((n_win, *shape), param.dtype), 0, -1), borrow=True)
        new_squares = tt.set_subtensor(squares[..., tt.cast(place, "int32")], gradient**2)
        total = sum(new_squares[..., i] for i in range(n_win))
        updates[squares] = new_squares
        one = np.float32(1)
        updates[place] = tt.switch(tt.lt(place + one, np.float32(n_win)), place + one, np.float32(0))
        step = rate * gradient / tt.sqrt(total + np.float32(epsilon))
        updates[param] = tt.patternbroadcast(tt.cast(param - step, param.dtype), param.broadcastable)
    return updates


def recognised(optimizer: Callable[..., Any]) -> Callable[..., Any]:
    """The optimizer of this module that computes the same as one of PyMC3's; any other is returned unchanged.

    Parameters
    ----------
    optimizer : callable
        What `pm.fit` takes as `obj_optimizer`: `pymc3.adam` or `pymc3.adagrad_window`, or what they return when
        called with settings alone.

    Returns
    -------
    callable

    Examples
    --------
    >>> import pymc3 as pm
    >>> recognised(pm.adam(learning_rate=0.1)).func is adam
    True
    >>> recognised(pm.sgd) is pm.sgd
    True
    """
    with_settings = isinstance(optimizer, partial) and not optimizer.args
    function, settings = (optimizer.func, optimizer.keywords) if with_settings else (optimizer, {})
    ours = {pm.adam: adam, pm.adagrad_window: adagrad_window}.get(function)
    symbolic = [name for name, value in settings.items() if isinstance(value, theano.Variable) and name != RATE]
    return optimizer if ours is None or symbolic else ours(**settings)


def _gradients(owner: str, loss_or_grads: Any, params: Any) -> list[Any]:
    if loss_or_grads is None or params is None:
        given = "loss_or_grads" if params is None else "params"
        raise ConfigurationError(
            f"{owner} got only {given}: pass loss_or_grads and params, or neither for an optimizer"
        )
    if isinstance(loss_or_grads, list) and len(loss_or_grads) != len(params):
        raise ConfigurationError(
            f"{owner}: loss_or_grads has {len(loss_or_grads)} gradients for {len(params)} params: give one for each"
        )
    try:
        return get_or_compute_grads(loss_or_grads, params)
    except theano.gradient.DisconnectedInputError as error:
        raise ConfigurationError(
            f"{owner}: the loss does not depend on all of params={params!r}: leave out those that it does not use"
        ) from error


def _groups(params: Any, gradients: list[Any]) -> list[list[tuple[Any, Any]]]:
    """The (parameter, gradient) pairs that share an Op: all small ones of a dtype.

    A large one has an Op of its own, which runs while the gradient is still in the cache.
    """
    groups: dict[Any, list[tuple[Any, Any]]] = {}
    for i, (param, gradient) in enumerate(zip(params, gradients)):
        small = param.get_value(borrow=True).size < SMALL
        groups.setdefault(param.dtype if small else i, []).append((param, gradient))
    return list(groups.values())
