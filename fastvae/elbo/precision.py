"""Where float64 comes into a model: a weight, an input, or integers of 32 bits and more that meet float32.

Examples
--------
>>> w = theano.shared(np.ones(2), name="w")
>>> sources([tt.exp(w)])
["the shared variable 'w'"]
>>> sources([tt.fvector("x") * tt.lvector("n")])
["'n', whose int64 meets float32"]
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from theano.compile import SharedVariable
from theano.gof.graph import inputs as graph_inputs
from theano.gof.graph import io_toposort

from fastvae.errors import ConfigurationError

REMEDY = "fastvae computes in float32: make it so by .astype('float32'), before theano.shared(...) for a weight"


def sources(expressions: list) -> list[str]:
    """What makes expressions float64, each cause once and in words; an empty list if they are not."""
    leaves = graph_inputs(expressions)
    found = [_named(leaf) for leaf in leaves if _is_double(leaf)]
    for node in io_toposort(leaves, expressions):
        if any(map(_is_double, node.outputs)) and not any(map(_is_double, node.inputs)):
            wide = [v for v in node.inputs if getattr(v, "dtype", "") in ("int32", "int64", "uint32", "uint64")]
            found += [f"{_name(v)}, whose {v.dtype} meets float32" for v in wide] or [f"a {node.op}"]
    return list(dict.fromkeys(found))


def check(owner: str, expression: object) -> None:
    """Raise ConfigurationError unless an expression is float32.

    Parameters
    ----------
    owner : str
        What it is, for the message.
    expression : theano variable
    """
    if isinstance(expression, theano.Variable) and _is_double(expression):
        raise ConfigurationError(f"{owner} is float64 because of {', '.join(sources([expression]))}: {REMEDY}")


def warn(loss: theano.Variable) -> None:
    """Say in one line of the log why a loss is computed in float64, which costs time, on a GPU most of all."""
    found = sources([loss])
    if found:
        logging.getLogger("fastvae").warning("the step computes in float64 because of %s: %s", ", ".join(found), REMEDY)


@contextlib.contextmanager
def explained(model: pm.Model) -> Iterator[None]:
    """Within this context Theano's errors about types that do not fit become ours, which name what is float64.

    Parameters
    ----------
    model : pymc3.Model
    """
    try:
        yield
    except TypeError as error:
        found = sources([variable.logpt for variable in model.basic_RVs])
        if not found:
            raise
        raise ConfigurationError(
            f"the model mixes float32 and float64, which comes in by {', '.join(found)}: {REMEDY}"
        ) from error


def _is_double(variable):
    return getattr(variable, "dtype", "") == "float64"


def _named(leaf):
    if isinstance(leaf, SharedVariable):
        return f"the shared variable {_name(leaf)}"
    if isinstance(leaf, theano.Constant):
        return f"a constant float64 {np.shape(leaf.data)}"
    return f"the input {_name(leaf)}"


def _name(variable):
    if variable.name:
        return repr(variable.name)
    if isinstance(variable, SharedVariable):
        return f"of shape {np.shape(variable.get_value(borrow=True))}"
    return f"{tt.as_tensor_variable(variable)}"
