"""Training form and evaluation form of a network.

Layers and users build the training form: batch normalisation by the statistics of the minibatch, dropout with a random
mask. `for_evaluation` makes the evaluation form of any such graph, and `running_updates` the updates that keep the
running statistics, by which it normalises. Nothing is marked: a running statistic is what enters a node of Theano's own
`batch_normalization_train` as `running_mean` or `running_var`.

Examples
--------
>>> import fastvae
>>> from fastvae import nn
>>> norm, x = nn.BatchNorm(2, momentum=1.0), tt.matrix("x", dtype="float32")
>>> step = theano.function([x], norm(x), updates=running_updates(norm(x)))
>>> evaluate = theano.function([x], for_evaluation(norm(x)))
>>> _ = step([[1, 10], [3, 10]])
>>> evaluate([[2, 10]])
array([[0., 0.]], dtype=float32)
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from theano.compile import SharedVariable, ViewOp
from theano.configparser import change_flags
from theano.gof.graph import inputs as graph_inputs
from theano.gof.graph import io_toposort
from theano.tensor.nnet.bn import AbstractBatchNormInference, AbstractBatchNormTrain, AbstractBatchNormTrainGrad

from fastvae import expressions, kinds
from fastvae.nn.dropout import is_dropout

EXPRESSIONS = kinds.either(expressions.variable, kinds.sequence(expressions.variable, "theano variables"))
REMEDY = "give batch_normalization_train its running_mean= and running_var=, or take fastvae.nn.BatchNorm"


@kinds.checked(outputs=EXPRESSIONS)
@change_flags(compute_test_value="off")
def for_evaluation(outputs: Any) -> Any:
    """The evaluation form of expressions in training form.

    Parameters
    ----------
    outputs : theano variable or sequence of them
        Of any Theano graph, whoever built it.

    Returns
    -------
    theano variable or list of them
        The same with every batch normalisation by its running mean and variance in place of those of the minibatch, and
        every `fastvae.nn.Dropout` left out; gradients become those of the evaluation form. Inputs, parameters and all
        other parts are the same objects as before. A running statistic with a `default_update` is not updated by a
        function of the evaluation form.

    Notes
    -----
    A batch normalisation without running statistics stays as it is, and a line of the log names it: what it returns for
    an image depends on the rest of the batch. One that is written out in means and variances is not recognised and
    stays as it is too, and random numbers other than those of `fastvae.nn.Dropout` stay random.

    Examples
    --------
    >>> from fastvae import nn
    >>> x = tt.matrix("x", dtype="float32")
    >>> for_evaluation(2 * nn.Dropout(0.5)(x)).eval({x: [[1, 2]]})
    array([[2., 4.]], dtype=float32)
    """
    several = isinstance(outputs, (list, tuple))
    outputs = list(outputs) if several else [outputs]
    new: dict[Any, Any] = {
        shared: shared.clone() for shared in running_statistics(outputs) if hasattr(shared, "default_update")
    }  # the same value, without the update
    for node in _nodes(outputs):
        inputs = [new.get(v, v) for v in node.inputs]
        if any(changed is not v for changed, v in zip(inputs, node.inputs)):
            kept = node.clone_with_new_inputs(inputs).outputs
        else:
            kept = node.outputs
        evaluated = _evaluated(node, inputs)
        new.update(zip(node.outputs, kept if evaluated is None else evaluated))
    found = [new.get(v, v) for v in outputs]
    return found if several else found[0]


@kinds.checked(outputs=EXPRESSIONS)
def running_statistics(outputs: Any) -> list[SharedVariable]:
    """The running means and variances of the batch normalisations in expressions.

    Parameters
    ----------
    outputs : theano variable or sequence of them
        In training form or in evaluation form.

    Returns
    -------
    list of theano shared variables
        In the order in which the nodes use them.

    Examples
    --------
    >>> from fastvae import nn
    >>> running_statistics(nn.BatchNorm(3, name="norm")(tt.matrix("x", dtype="float32")))
    [norm.running_mean, norm.running_var]
    """
    sources = [_source(taken) for node in _nodes(outputs) for taken, _ in _running(node)]
    return list(dict.fromkeys(source[0] for source in sources if source is not None))


@kinds.checked(outputs=EXPRESSIONS)
@change_flags(compute_test_value="off")
def running_updates(outputs: Any) -> dict[SharedVariable, theano.Variable]:
    """The updates that the batch normalisations in expressions make to their running means and variances.

    `fastvae.fit` takes them by itself; they are for a step of your own.

    Parameters
    ----------
    outputs : theano variable or sequence of them
        In training form.

    Returns
    -------
    OrderedDict
        For `theano.function(updates=...)`. Of a statistic that enters several nodes, the average of their updates.

    Notes
    -----
    Statistics of a batch normalisation within a Scan are not updated, and a line of the log says so.

    Examples
    --------
    >>> from fastvae import nn
    >>> x = tt.matrix("x", dtype="float32")
    >>> loss = (nn.BatchNorm(3, name="norm")(x) ** 4).sum()
    >>> list(running_updates(loss))
    [norm.running_mean, norm.running_var]
    """
    found: dict[SharedVariable, list[theano.Variable]] = {}
    for node in _nodes(outputs):
        within = [n for n in _inner_nodes(node) if isinstance(n.op, AbstractBatchNormTrain)]
        if any(map(_has_running_statistics, within)):
            _warn(
                f"running statistics of batch normalisations within {node.op} are not updated: move them out of it",
                "training",
            )
        for taken, new in _running(node):
            source = _source(taken)
            if source is not None and new is not None:
                shared, in_own_shape = source
                found.setdefault(shared, []).append(in_own_shape(new))
    return OrderedDict((shared, _mean(values)) for shared, values in found.items())  # Theano warns of a plain dict


def _mean(values):
    return values[0] if len(values) == 1 else sum(values[1:], values[0]) / np.array(len(values), values[0].dtype)


def _nodes(outputs: Any) -> list[theano.Apply]:
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    return io_toposort(graph_inputs(outputs), outputs)


def _running(node: theano.Apply) -> list[tuple[theano.Variable, theano.Variable | None]]:
    """What a node takes as a running mean and variance, and their new values; None for a node in evaluation form."""
    if isinstance(node.op, AbstractBatchNormTrain):
        return list(zip(node.inputs[5:], node.outputs[3:]))
    if isinstance(node.op, AbstractBatchNormInference):
        return [(taken, None) for taken in node.inputs[3:5]]
    return []


def _source(taken: theano.Variable) -> tuple[SharedVariable, Callable[[Any], Any]] | None:
    """The shared variable that a node takes in another shape, and a function that gives a value its own shape."""
    if isinstance(taken, SharedVariable):
        return taken, lambda value: tt.patternbroadcast(value, taken.broadcastable)
    op = taken.owner.op if taken.owner is not None else None
    if isinstance(op, tt.DimShuffle):
        axes = [axis for axis, source in enumerate(op.new_order) if source != "x"]
        if [op.new_order[axis] for axis in axes] != list(range(taken.owner.inputs[0].ndim)):
            return None
        added = [axis for axis in range(taken.ndim) if axis not in axes]
        found = _source(taken.owner.inputs[0])
        return found and (found[0], lambda value: found[1](tt.addbroadcast(value, *added).dimshuffle(axes)))
    if isinstance(op, (tt.Rebroadcast, ViewOp)) or type(op).__name__ == "HostFromGpu":  # pygpu may be absent
        return _source(taken.owner.inputs[0])
    return None


def _evaluated(node: theano.Apply, inputs: list[theano.Variable]) -> list[theano.Variable] | None:
    """What a node's outputs are in the evaluation form, None if the same as in the training form."""
    if is_dropout(node):
        return [inputs[0]]
    if isinstance(node.op, AbstractBatchNormTrainGrad):
        return _evaluated_gradient(node, inputs)
    if not isinstance(node.op, AbstractBatchNormTrain):
        if any(map(_is_training, _inner_nodes(node))):
            _warn(f"{node.op}: batch normalisation and dropout within it stay in training form: move them out of it")
        return None
    if not _has_running_statistics(node):
        _warn(
            f"the batch normalisation by {_name(node.inputs[1])} has no running mean and variance, so that what it "
            f"returns for an image depends on the rest of the batch: {REMEDY}"
        )
        return None
    x, gamma, beta, epsilon, _, mean, variance = inputs
    normalised = AbstractBatchNormInference(node.op.axes)(x, gamma, beta, mean, variance, epsilon)
    evaluated = [normalised, mean, tt.inv(tt.sqrt(variance + epsilon)), mean, variance]
    return [tt.patternbroadcast(new, old.broadcastable) for new, old in zip(evaluated, node.outputs)]


def _evaluated_gradient(node: theano.Apply, inputs: list[theano.Variable]) -> list[theano.Variable] | None:
    """The gradient of a batch normalisation whose mean and variance do not depend on its input."""
    source = node.inputs[3].owner
    if source is None or not isinstance(source.op, AbstractBatchNormTrain) or not _has_running_statistics(source):
        return None
    x, gradient, gamma, mean, inverse, _ = inputs
    by_gamma, by_beta = (
        tt.sum(v, axis=node.op.axes, keepdims=True) for v in (gradient * (x - mean) * inverse, gradient)
    )
    evaluated = [gradient * gamma * inverse, by_gamma, by_beta]
    return [tt.patternbroadcast(new, old.broadcastable) for new, old in zip(evaluated, node.outputs)]


def _has_running_statistics(node: theano.Apply) -> bool:
    return len(node.inputs) == 7


def _inner_nodes(node: theano.Apply) -> list[theano.Apply]:
    """The nodes within a node's Op, such as those of a Scan's step."""
    inner = [v for v in getattr(node.op, "outputs", ()) if isinstance(v, theano.Variable)]
    return io_toposort(graph_inputs(inner), inner) if inner else []


def _is_training(node: theano.Apply) -> bool:
    return is_dropout(node) or isinstance(node.op, AbstractBatchNormTrain)


def _name(variable: theano.Variable) -> str:
    names = [v.name for v in graph_inputs([variable]) if v.name]
    return names[0] if names else f"an unnamed gamma of {variable.type}"


def _warn(what: str, when: str = "evaluation") -> None:
    logging.getLogger("fastvae").warning("%s: %s", when, what)
