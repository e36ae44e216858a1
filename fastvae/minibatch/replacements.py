"""What replaces a model's inputs, `more_replacements`, as Theano variables of the inputs' types.

What does not fit raises an error of one line, before theano raises one of twenty.

Examples
--------
>>> import fastvae, numpy as np
>>> xs = tt.tensor4("xs", dtype="float32")
>>> check_replacement(xs, np.zeros((9, 1, 4, 4))).dtype
dtype('float32')
>>> check_replacement(xs, fastvae.Minibatch(np.zeros((9, 1, 4, 4), "uint8"), 3))
Traceback (most recent call last):
    ...
fastvae.errors.ConfigurationError: xs takes float32, and uint8 is to replace it: give Minibatch(..., scale=1 / 255), ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import theano
import theano.tensor as tt

from fastvae.datasets.rows import Rows
from fastvae.datasets.validation import in_type
from fastvae.errors import ConfigurationError
from fastvae.nn.collect import not_trainable

FLOAT_OF = {
    "uint8": "give Minibatch(..., scale=1 / 255), or convert them with x.astype('float32')",
    "bool": "convert them with x.astype('float32')",
}


def as_variables(more_replacements: Mapping[Any, Any] | None) -> dict[theano.Variable, theano.Variable]:
    """Every replacement as a variable: a variable as it is, data in a shared variable of the input's type.

    Parameters
    ----------
    more_replacements : dict or None
        From inputs of the model, or any other of its variables, to Theano variables or data.

    Returns
    -------
    dict

    Raises
    ------
    ConfigurationError, DataError
        See `check_replacement`.

    Examples
    --------
    >>> x = tt.fvector("x")
    >>> as_variables({x: [1.0, 2.0]})[x].get_value()
    array([1., 2.], dtype=float32)
    """
    variables = {}
    for key, value in (more_replacements or {}).items():
        value = check_replacement(key, value)
        if not isinstance(value, theano.Variable):
            value = not_trainable(theano.shared(value, name=key.name, broadcastable=key.broadcastable))
        variables[key] = value
    return variables


def check_replacement(key: Any, value: Any) -> theano.Variable | np.ndarray:
    """A value that can replace a model's input.

    Parameters
    ----------
    key : theano variable
        A key of `more_replacements`.
    value : theano variable or array-like
        What replaces it: a `fastvae.Minibatch`, any other expression or shared variable, or data.

    Returns
    -------
    theano variable or numpy.ndarray
        A variable as it is; data as an array of the input's type.

    Raises
    ------
    ConfigurationError
        If type or number of axes differ.
    DataError
        If data are not numbers, not finite, or cannot be converted to the input's type without a loss.
    """
    if not isinstance(key, theano.Variable):
        raise ConfigurationError(
            f"more_replacements: the key {key!r} is not a theano variable: give {{input of the model: minibatch}}"
        )
    if isinstance(value, tuple) and value and all(isinstance(part, theano.Variable) for part in value):
        raise ConfigurationError(
            f"more_replacements: {key} is to be replaced by a tuple of {len(value)} variables: take them apart, as in "
            "images, labels = fastvae.Minibatch((images, labels), 64), and give each its input"
        )
    if isinstance(value, Rows):
        raise ConfigurationError(
            f"more_replacements: {key} is to be replaced by rows on disk: give fastvae.Minibatch(rows, batch_size)"
        )
    if not isinstance(key.type, tt.TensorType):
        return value
    if not isinstance(value, theano.Variable):
        value = in_type(value, key.dtype, f"more_replacements: the value for {key}", scalar=True)
        _check(key, key.dtype, value.ndim, tuple(size == 1 for size in value.shape))
    elif isinstance(value.type, tt.TensorType):
        _check(key, value.dtype, value.ndim, value.broadcastable)
    return value


def _check(key: theano.Variable, dtype: str, ndim: int, broadcastable: tuple[bool, ...]) -> None:
    if dtype != key.dtype:
        if key.dtype.startswith("float"):
            remedy = FLOAT_OF.get(dtype, "convert it with x.astype('float32')")
        else:
            remedy = f"convert it with x.astype({key.dtype!r})"
        raise ConfigurationError(f"{key} takes {key.dtype}, and {dtype} is to replace it: {remedy}")
    if ndim != key.ndim:
        remedy = "give the images a channel axis with x[:, None]" if (ndim, key.ndim) == (3, 4) else "reshape the data"
        raise ConfigurationError(f"{key} takes {key.ndim} axes, and {ndim} are to replace them: {remedy}")
    fixed = [axis for axis, (takes, has) in enumerate(zip(key.broadcastable, broadcastable)) if takes and not has]
    if fixed:
        raise ConfigurationError(
            f"{key} takes length 1 on axis {fixed[0]}, and what is to replace it has another: declare {key} as a "
            f"tensor of {ndim} axes, such as theano.tensor.TensorType({key.dtype!r}, {(False,) * ndim})({key.name!r})"
        )
