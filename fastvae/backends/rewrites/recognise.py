"""Spelled-out patterns of an expression become abstract Ops before its gradient is taken.

The gradient of a pattern that its author spelled in stock Ops is spelled in stock Ops too, in several passes, and it
needs the values in between. The gradient of the abstract Op is lean, so the Op has to be there first.

A pattern is a function of a node under `recognises(...)` of `fastvae.backends.abstract.spellings`, in the file of the
abstract Op. It looks at the node that ends the spelling; inside, smaller patterns have been recognised already. It
returns None where it does not apply, or what takes the place of the node's outputs: one expression, a list of them, or
a dict {variable: expression} that may also replace variables on the way to them, such as the mean of a hand-written
normalisation, provided that the expression does not depend on these. Values and gradients must be those of the
spelling. Types are seen to here: what has another type, or is not float32, is not replaced.

Examples
--------
>>> import theano.tensor as tt
>>> x = tt.fvector("x")
>>> (y,), replaced = recognise([tt.nnet.relu(x, 0.25)])
>>> y.owner.op.scalar_op
LeakyRelu{alpha=0.25, at_zero=0.625, at_nan=None}
"""

from __future__ import annotations

from typing import Any

import theano.tensor as tt
from theano import Variable
from theano.gof import local_optimizer
from theano.gof.graph import inputs as graph_inputs
from theano.gof.graph import io_toposort
from theano.gof.opt import copy_stack_trace

from fastvae.backends import abstract
from fastvae.backends.abstract.spellings import number, patterns
from fastvae.backends.compiled_op import import_modules

import_modules(abstract)


def recognise(outputs: list[Variable]) -> tuple[list[Variable], dict[Variable, Variable]]:
    """Expressions of the same values with abstract Ops in place of spelled patterns.

    Parameters
    ----------
    outputs : list of theano variables
        Expressions that may share parts. Patterns want one variable where a spelling has equal ones: merge equal nodes
        first.

    Returns
    -------
    outputs : list of theano variables
        Their inputs, shared variables and random states are the same objects as before, and so is every node that does
        not depend on a pattern.
    replaced : dict
        What took the place of each inner variable that is not in the new expressions.

    Examples
    --------
    >>> import theano, theano.tensor as tt
    >>> x = theano.shared(0.0)
    >>> recognise([x + 1])[1]
    {}
    """
    replaced, inner = _rebuilt(outputs, {}, _spelled)
    new = [replaced.get(v, v) for v in outputs]
    if inner:
        again, _ = _rebuilt(new, inner, lambda node: None)
        replaced = {old: again.get(v, v) for old, v in replaced.items()} | again
        new = [again.get(v, v) for v in new]
    return new, replaced


def _rebuilt(outputs, replacements, rule):
    """The variables that change if some are replaced and a rule applies to each node, and what they become.

    `rule(node)` returns the node's new outputs, None to leave it, or a dict: what it has beyond the node's outputs is
    returned as the second result.
    """
    new, later = dict(replacements), {}
    for node in io_toposort(graph_inputs(outputs), outputs):
        inputs = [new.get(v, v) for v in node.inputs]
        changed = any(v is not old for v, old in zip(inputs, node.inputs))
        current = node.clone_with_new_inputs(inputs) if changed else node
        found = rule(current)
        if isinstance(found, dict):
            later.update((v, w) for v, w in found.items() if v not in current.outputs)
            found = [found.get(v, v) for v in current.outputs]
        for old, v in zip(node.outputs, found or current.outputs):
            if v is not old and old not in replacements:
                new[old] = v
    return new, later


def _spelled(node):
    """What a pattern makes of a node: {variable: expression of the same type}, or None."""
    for pattern in patterns(node.op):
        found = pattern(node)
        if found is None:
            continue
        if isinstance(found, Variable):
            found = [found]
        if not isinstance(found, dict):
            found = dict(zip(node.outputs, found))
        typed = {old: _as_typed(old, v) for old, v in found.items()}
        if None not in typed.values():
            return typed
    return None


def _as_typed(old: Any, new: Any) -> Any:
    """An expression that takes the place of a float32 variable, with its type; None where it cannot."""
    if getattr(old, "dtype", None) != "float32" or new.ndim != old.ndim:
        return None
    new = tt.patternbroadcast(new, old.broadcastable)
    if new.type != old.type:
        return None
    copy_stack_trace(old, new)
    return new


@local_optimizer(None)
def local_recognise(node):
    """A spelling in a graph that Theano compiles -> what its pattern makes of it, where nothing else uses its parts."""
    found = _spelled(node)
    if found is None or found.keys() != set(node.outputs) or not _is_private(node, found.values()):
        return False
    return [found[v] for v in node.outputs]


def _is_private(node, new):
    """Whether what a node is computed from is used for it only, up to the variables that its new outputs start from."""
    starts, waiting = set(), list(new)
    while waiting:
        v = waiting.pop()
        if getattr(v, "fgraph", None) is node.fgraph:
            starts.add(v)
        elif v.owner:
            waiting += v.owner.inputs
    nodes, between, waiting = {node}, [], list(node.inputs)
    while waiting:
        v = waiting.pop()
        if v not in starts and v.owner and number(v) is None:
            between.append(v)
            waiting += v.owner.inputs if v.owner not in nodes else []
            nodes.add(v.owner)
    return all(client in nodes for v in between for client, _ in v.clients)
