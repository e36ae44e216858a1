"""Values of shared variables as a container can hold them, and back: arrays, and the states of numpy's older generator.

Theano's `RandomStreams` keep a `numpy.random.RandomState`, the newer `MRG_RandomStreams` an array.

Examples
--------
>>> state = np.random.RandomState(3)
>>> decode(encode(state)).normal() == state.normal()
True
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano

from fastvae.errors import ConfigurationError

RANDOM_STATE = "RandomState"


def encode(value: Any, name: str = "a shared variable") -> np.ndarray | dict[str, Any]:
    """A value of a shared variable as an array, or as a dict of JSON values and arrays.

    Raises
    ------
    ConfigurationError
        If it is of another kind, such as a sparse matrix.
    """
    if isinstance(value, np.random.RandomState):
        generator, key, position, has_gauss, gauss = value.get_state()
        return {RANDOM_STATE: generator, "key": key, "position": position, "has_gauss": has_gauss, "gauss": gauss}
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise ConfigurationError(
            f"checkpoint: {name} holds a {type(value).__name__}, which a checkpoint cannot keep: hold arrays or the "
            "states of theano's random streams in what a step updates, or leave checkpoint out"
        )
    return array


def is_encoded(value: Any) -> bool:
    """Whether `encode` may have returned it."""
    if not isinstance(value, dict):
        return isinstance(value, np.ndarray)
    try:
        decode(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return True


def decode(value: Any) -> Any:
    """What `encode` was given; for an array the array itself."""
    if not isinstance(value, dict):
        return value
    state = np.random.RandomState()
    state.set_state((value[RANDOM_STATE], value["key"], value["position"], value["has_gauss"], value["gauss"]))
    return state


def restore(variable: theano.compile.SharedVariable, value: Any) -> None:
    """Give a shared variable an encoded value, in the memory layout that it has now.

    An optimizer's state may be laid out so that a step reads it in the order of memory.
    """
    value, current = decode(value), variable.get_value(borrow=True)
    if isinstance(value, np.ndarray) and isinstance(current, np.ndarray):
        laid_out = np.empty_like(current)  # in the order of `current`
        laid_out[...] = value
        value = laid_out
    variable.set_value(value, borrow=True)


def describe(name: str | None, encoded: Any) -> str:
    """Name, type and shape of an encoded value, in which a resumed run has to agree with the one before."""
    kind = RANDOM_STATE if isinstance(encoded, dict) else f"{encoded.dtype} {encoded.shape}"
    return f"{name or 'unnamed'} {kind}"
