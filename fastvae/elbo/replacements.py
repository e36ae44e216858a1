"""What takes the place of a model's inputs, `more_replacements`, as Theano variables.

Examples
--------
>>> x = tt.fvector("x")
>>> as_variables({x: [1, 2, 3]})[x].get_value()
array([1., 2., 3.], dtype=float32)
"""
import numpy as np
import theano
import theano.tensor as tt

from fastvae.errors import ConfigurationError
from fastvae.nn.collect import not_trainable


def as_variables(more_replacements):
    """Every replacement as a variable of its input's type: as it is, or an array in a shared variable.

    Parameters
    ----------
    more_replacements : dict or None
        From an input of the model, or any other variable of it, to a Theano variable or an array, a list, a number.

    Returns
    -------
    dict

    Raises
    ------
    ConfigurationError
        If a key is no Theano variable, or a value cannot be of its type.
    """
    if not isinstance(more_replacements, (dict, type(None))):
        raise ConfigurationError(f"more_replacements={more_replacements!r} must be a dict {{input: what replaces it}}")
    return {key: _as_variable(key, value) for key, value in (more_replacements or {}).items()}


def _as_variable(key, value):
    if not isinstance(key, theano.Variable):
        raise ConfigurationError(f"more_replacements: {key!r} is no theano variable; name the model's input itself")
    if isinstance(value, theano.Variable):
        return value
    array = np.asarray(value)
    if not isinstance(key.type, tt.TensorType) or array.dtype.kind not in "biuf" or array.ndim != key.ndim:
        raise ConfigurationError(
            f"more_replacements: {key} is a {key.type}, which cannot be replaced by a {type(value).__name__} of "
            f"{array.dtype} {array.shape}: give an array of {key.ndim} axes"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what changes is said
        cast = array.astype(key.dtype)
    is_float = np.dtype(key.dtype).kind == "f"
    changed = np.argwhere(np.isfinite(array) & ~np.isfinite(cast) if is_float else cast != array)
    if len(changed):
        first = tuple(map(int, changed[0]))
        raise ConfigurationError(
            f"more_replacements: {key} is {key.dtype}, in which {array[first]} at {first} would become "
            f"{cast[first]}: declare the input with a type that holds it"
        )
    return not_trainable(theano.shared(cast, name=key.name, broadcastable=key.broadcastable))
