"""collect_params: the trainable parameters of any Theano graph, whichever library built it.

Examples
--------
>>> import numpy as np, theano, theano.tensor as tt
>>> weight = theano.shared(np.zeros((3, 2), "float32"), name="weight")
>>> bias = theano.shared(np.zeros(2, "float32"), name="bias")
>>> rate = not_trainable(theano.shared(np.float32(0.1), name="rate"))
>>> collect_params(rate * (tt.dot(tt.matrix("x"), weight) + bias))
[weight, bias]
"""

from __future__ import annotations

import logging
from typing import Any

from pymc3.data import Minibatch
from theano.compile import SharedVariable
from theano.tensor.subtensor import AdvancedSubtensor, AdvancedSubtensor1

from fastvae import expressions, kinds
from fastvae.errors import ConfigurationError
from fastvae.nn.modes import running_statistics

FLOATS = ("float16", "float32", "float64")


@kinds.checked(shared=expressions.shared)
def not_trainable(shared: SharedVariable) -> SharedVariable:
    """Mark a shared variable as data or a schedule, which `collect_params` leaves out, and return it.

    Parameters
    ----------
    shared : theano shared variable

    Returns
    -------
    theano shared variable
        The same one.

    Examples
    --------
    >>> import theano
    >>> temperature = not_trainable(theano.shared(1.0, name="temperature"))
    >>> collect_params(2 * temperature)
    []
    """
    shared.tag.trainable = False
    return shared


def _one_or_more(kind: kinds.Kind, of: str) -> kinds.Kind:
    """One value of another kind, or several."""

    def standard(values: Any) -> list[Any]:
        several = isinstance(values, (list, tuple, set, frozenset))
        return [kind.standard(value) for value in (values if several else [values])]

    return kinds.Kind(f"{kind.name} or several", f"{kind.words}, or a list of {of}", standard)


@kinds.checked(
    expressions=_one_or_more(expressions.variable, "them"),
    exclude=_one_or_more(kinds.either(expressions.shared, kinds.text), "these"),
)
def collect_params(expressions: Any, exclude: Any = ()) -> list[SharedVariable]:
    """Every trainable shared variable that the expressions depend on, in a stable order.

    The order is that in which the graph's nodes use them (depth first, inputs from left to right), so a layer's weight
    comes before its bias and the first layer before the second.

    Left out are integers; states of random number generators and any other variable that the graph itself updates (it
    has a `default_update`); running means and variances of batch normalisations; the data of `fastvae.Minibatch`,
    `pymc3.Minibatch` (also in a cloned graph) and `pymc3.Data`; what `not_trainable` marked; and 0-d scalars, which is
    what schedules (a KL weight, a learning rate) are. Add a scalar to be learned, such as a standard deviation, by
    hand: `collect_params(...) + [sd]`. Scalars that are not marked are named in a warning of the log.

    Parameters
    ----------
    expressions : Theano variable or sequence of them
        For a VAE the encoder's mean and rho, and the decoder's output.
    exclude : shared variable, str, or sequence of them, optional
        Variables, or their names, to leave out as well.

    Returns
    -------
    list of theano shared variables

    Raises
    ------
    ConfigurationError
        If an expression is not a Theano variable, or something in `exclude` is not in the graph.

    Examples
    --------
    >>> import numpy as np, theano
    >>> a, b = theano.shared(np.ones(2), name="a"), theano.shared(np.ones(2), name="b")
    >>> collect_params([a * b, b], exclude="a")
    [b]
    """
    variables = _ancestors(_as_list(expressions))
    shared = [variable for variable in variables if isinstance(variable, SharedVariable)]
    left_out = _excluded(shared, _as_list(exclude)) | _minibatch_data(variables)
    left_out |= set(running_statistics(_as_list(expressions)))
    trainable = [variable for variable in shared if _is_trainable(variable) and variable not in left_out]
    scalars = [str(variable) for variable in trainable if variable.ndim == 0]
    if scalars:
        logging.getLogger("fastvae").warning(
            "collect_params leaves out the scalar %s: add it to the list if it is to be trained, or mark it with "
            "fastvae.not_trainable",
            ", ".join(scalars),
        )
    return [variable for variable in trainable if variable.ndim]


def _as_list(one_or_more: Any) -> list[Any]:
    return list(one_or_more) if isinstance(one_or_more, (list, tuple, set, frozenset)) else [one_or_more]


def _ancestors(outputs: list[Any]) -> list[Any]:
    """The outputs and all that they depend on, each once, in the order in which the nodes use them."""
    found: dict[Any, None] = {}
    seen = set()
    stack = [(output, False) for output in reversed(outputs)]
    while stack:
        variable, inputs_done = stack.pop()
        if inputs_done:
            found.update(dict.fromkeys([*variable.owner.inputs, variable]))
        elif variable.owner is not None and variable not in seen:
            seen.add(variable)
            stack.append((variable, True))
            stack.extend((parent, False) for parent in reversed(variable.owner.inputs))
    return list(dict.fromkeys([*found, *outputs]))


def _excluded(shared: list[SharedVariable], exclude: list[Any]) -> set[SharedVariable]:
    excluded = set()
    for entry in exclude:
        matches = [
            variable for variable in shared if variable is entry or (isinstance(entry, str) and variable.name == entry)
        ]
        if not matches:
            names = ", ".join(sorted(str(variable) for variable in shared)) or "none"
            raise ConfigurationError(
                f"collect_params: exclude names {entry!r}, which is not a shared variable of the graph; it has: {names}"
            )
        excluded.update(matches)
    return excluded


def _is_trainable(shared: SharedVariable) -> bool:
    return (
        getattr(shared.type, "dtype", None) in FLOATS
        and getattr(shared.tag, "trainable", True)
        and not getattr(shared.tag, "is_rng", False)
        and not hasattr(shared, "default_update")
        and not hasattr(shared, "dshape")  # the mark that pymc3.Data leaves
    )


def _minibatch_data(variables: list[Any]) -> set[Any]:
    """The shared variables whose rows the graph gathers at random, as a minibatch does.

    A `pymc3.Minibatch` refers to its data, but a clone of it (every PyMC3 model makes some) is an ordinary variable. It
    can still be recognised by the gather, whose indices depend only on random states. (The indices of an embedding
    depend on data, so its table stays a parameter.)
    """
    data = {variable.shared for variable in variables if isinstance(variable, Minibatch)}
    for variable in variables:
        if variable.owner is None or not isinstance(variable.owner.op, (AdvancedSubtensor, AdvancedSubtensor1)):
            continue
        table, *indices = variable.owner.inputs
        while table.owner is not None and len(table.owner.inputs) == 1:  # a transfer from the GPU, a view
            table = table.owner.inputs[0]
        sources = [source for source in _ancestors(indices) if isinstance(source, SharedVariable)]
        random = [source for source in sources if getattr(source.tag, "is_rng", False)]
        if random and all(source in random or source is table for source in sources):
            data.add(table)
    return data
