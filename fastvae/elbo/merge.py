"""Merge equal nodes of an expression before its gradient is taken.

Theano merges equal nodes when it compiles, after the gradient. A loss that holds one network twice (PyMC3's ELBO has
the encoder in the sample of z and in log q) then gets two backward passes through it, which no merging brings together
again: their incoming gradients differ. Merged first, the gradients are summed where the copies met and there is one.

Examples
--------
>>> import theano.tensor as tt
>>> from fastvae.elbo.merge import merge_equal_nodes
>>> x = tt.fvector("x")
>>> a, b = merge_equal_nodes([tt.exp(x), tt.exp(x)])
>>> a is b
True
"""

from __future__ import annotations

from theano import Constant, Variable
from theano.gof.graph import inputs as graph_inputs
from theano.gof.graph import io_toposort


def merge_equal_nodes(outputs: list[Variable]) -> list[Variable]:
    """Expressions equal to the given ones, in which equal Ops on equal inputs occur once.

    Parameters
    ----------
    outputs : list of theano variables
        Expressions that may share parts.

    Returns
    -------
    list of theano variables
        The same values. Inputs, shared variables and random states are the same objects as before, and so is every
        node to which none before it is equal. Two random draws are merged only if they draw from one state: they are
        the same numbers then.

    Notes
    -----
    Not for a compiled graph: Theano's own MergeOptimizer serves there.

    Examples
    --------
    >>> import theano, theano.tensor as tt
    >>> x = tt.fscalar("x")
    >>> loss = tt.exp(x) * tt.exp(x)
    >>> (merged,) = merge_equal_nodes([loss])
    >>> merged.owner.inputs[0] is merged.owner.inputs[1]
    True
    """
    kept, first_nodes, constants = {}, {}, {}

    def representative(variable):
        if isinstance(variable, Constant):
            return constants.setdefault(variable.merge_signature(), variable)
        return kept.get(variable, variable)

    for node in io_toposort(graph_inputs(outputs), outputs):
        inputs = [representative(v) for v in node.inputs]
        key = (node.op, tuple(inputs), tuple(v.type for v in node.outputs))
        if key not in first_nodes:
            changed = any(new is not old for new, old in zip(inputs, node.inputs))
            first_nodes[key] = node.clone_with_new_inputs(inputs, strict=True) if changed else node
        kept.update(zip(node.outputs, first_nodes[key].outputs))
    return [representative(v) for v in outputs]
