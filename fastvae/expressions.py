"""Kinds of arguments that are theano expressions (`fastvae.kinds` has the others), and seeds for theano's streams.

Examples
--------
>>> import theano
>>> rate = theano.shared(np.float32(0.1))
>>> scalar(above=0).check("adam", "learning_rate", 2 * rate).ndim
0
>>> scalar(above=0).check("adam", "learning_rate", tt.scalar("rate"))
Traceback (most recent call last):
fastvae.errors.ConfigurationError: adam: learning_rate=rate must be a finite number above 0 in float32, or a theano \
scalar of theano.shared variables (make a free input one), such as a schedule of fastvae.schedules
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt
from theano.compile import SharedVariable
from theano.gof import Constant, Variable
from theano.gof.graph import inputs

from fastvae import kinds

M2 = 2147462579  # the second modulus of MRG31k3p, whose seeds must be smaller


def scalar(**bounds: Any) -> kinds.Kind:
    """A number within bounds (see `kinds.number`), or a theano scalar that depends on nothing but shared variables."""

    def standard(value: Any) -> Any:
        if not isinstance(value, Variable) or getattr(value, "ndim", None) != 0 or value.dtype.startswith("complex"):
            raise TypeError
        if not all(isinstance(source, (SharedVariable, Constant)) for source in inputs([value])):
            raise ValueError
        return value

    says = "a theano scalar of theano.shared variables (make a free input one), such as a schedule of fastvae.schedules"
    return kinds.either(kinds.number(**bounds), kinds.Kind("theano scalar", says, standard))


def _tensor(value: Any) -> Any:
    if value is None or isinstance(value, (str, bytes)):
        raise TypeError
    try:
        tt.as_tensor_variable(value)
    except Exception:  # theano raises a dozen classes for what is not a tensor
        raise TypeError from None
    return value


def _shared(value: Any) -> Any:
    if not isinstance(value, SharedVariable):
        raise TypeError
    return value


def _updates(value: Any) -> Any:
    if not isinstance(value, dict) or not all(isinstance(variable, SharedVariable) for variable in value):
        raise TypeError
    return value


def _loss(value: Any) -> Any:
    if not isinstance(value, Variable) or getattr(value, "ndim", None) != 0:
        raise TypeError
    return value


tensor = kinds.Kind("tensor", "a theano expression or a numpy array of numbers", _tensor)
shared = kinds.Kind("shared variable", "a theano.shared variable", _shared)
variable = kinds.instance("variable", "a theano variable", Variable)
loss = kinds.Kind("loss", "a theano scalar, the loss", _loss)
updates = kinds.Kind("dict", "a dict {theano.shared variable: new value}", _updates)
shared_list = kinds.sequence(shared, "theano.shared variables, such as fastvae.collect_params returns")


def stream_seed(seed: int) -> int:
    """A seed that theano's MRG streams take, for any of at least 0: itself if it is admissible, else one drawn from it.

    Examples
    --------
    >>> stream_seed(7), 1 <= stream_seed(0) < M2, 1 <= stream_seed(2**32 - 1) < M2
    (7, True, True)
    """
    if 1 <= seed < M2:
        return seed
    return int(1 + np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] % np.uint64(M2 - 1))
