"""Whether an expression is computed row by row: the proof that samples may be folded into the batch axis.

`first_mixing(outputs, rows)` follows the graph from `rows` (variables whose first axis is the batch) to the outputs. An
output is row-wise if its row i depends on row i of them alone, for any number of rows. Only Ops whose behaviour is
known are followed, so a model that mixes rows (a batch normalisation) or fixes their number (``reshape((64, -1))``) is
never taken for one that does not; a model of which nothing is known is not row-wise either. An abstract Op declares
its behaviour itself (`fastvae.backends.abstract.AbstractOp.row_inputs`); the rules below are those of Theano's own Ops.

`first_shared(outputs, rows)` is the opposite: an Op that is known to make one row depend on the others, such as batch
statistics, or on a random mask.

Examples
--------
>>> import theano.tensor as tt
>>> z = tt.fmatrix("z")
>>> first_mixing([tt.tanh(z).sum(axis=1)], [z]) is None
True
>>> first_mixing([z.reshape((4, -1)).sum(axis=1)], [z])
'Reshape{2}'
"""

from __future__ import annotations

import enum

import theano
from theano.compile import ops as compile_ops
from theano.tensor import basic, blas, elemwise, opt, subtensor
from theano.tensor.nnet import abstract_conv, bn, nnet
from theano.tensor.signal import pool

from fastvae.backends.abstract import AbstractOp
from fastvae.backends.rewrites.recognise import recognise
from fastvae.nn import dropout


class _Role(enum.Enum):
    """What a variable is to the batch."""

    FREE = "depends neither on the rows nor on their number"
    ROWS = "row i depends on row i of the inputs"
    COUNT = "the number of rows"
    SHAPE = "a shape that begins with the number of rows, the rest free"


FREE, ROWS, COUNT, SHAPE = _Role


def first_mixing(outputs: list, rows: list) -> str | None:
    """The first Op that is not known to work row by row, as text, or None if all outputs are row-wise.

    Parameters
    ----------
    outputs : list of theano variables
    rows : list of theano variables
        Each with the batch as its first axis, all of one length. What they are computed from is not looked at.

    Returns
    -------
    str or None
        None also promises that every output depends on `rows`.
    """
    outputs, replaced = recognise(outputs)
    rows = [replaced.get(variable, variable) for variable in rows]
    roles = dict.fromkeys(rows, ROWS)
    for node in theano.gof.graph.io_toposort(rows, outputs):
        found = [roles.get(variable, FREE) for variable in node.inputs]
        if None in found:
            role = None
        elif set(found) == {FREE} or not found:
            role = FREE
        else:
            role = _role(node, found)
        for output in node.outputs:
            roles.setdefault(output, role)
            if role is ROWS and (output.ndim == 0 or output.broadcastable[0]):
                roles[output] = None
    return next((_describe(output, roles) for output in outputs if roles.get(output, FREE) is not ROWS), None)


def first_shared(outputs: list, rows: list) -> str | None:
    """The first Op that lets the rows of the outputs share something, as text, or None if none is known to.

    That is a statistic of all rows that comes back to each of them, as in a batch normalisation, or random numbers,
    which an expression with more rows would draw differently.

    Parameters
    ----------
    outputs, rows : list of theano variables
        As of `first_mixing`.

    Examples
    --------
    >>> import theano.tensor as tt
    >>> z = tt.fmatrix("z")
    >>> first_shared([z - z.mean(axis=0)], [z])
    'Sum{axis=[0], acc_dtype=float64}'
    >>> first_shared([tt.sum(z**2)], [z]) is None
    True
    """
    depending, statistics = set(rows), {}
    nodes = theano.gof.graph.io_toposort(rows, outputs)
    for node in sorted(nodes, key=lambda node: not dropout.is_dropout(node)):  # better named than its random numbers
        if dropout.is_dropout(node) or any(getattr(v.tag, "is_rng", False) for v in node.inputs):
            return str(node.op)
    for node in nodes:
        found = [v for v in node.inputs if v in depending]
        if not found:
            continue
        depending.update(node.outputs)
        of_rows = [v for v in found if v not in statistics]
        if isinstance(node.op, bn.AbstractBatchNormTrain) and 0 in node.op.axes and node.inputs[0] in of_rows:
            return str(node.op)
        if len(of_rows) < len(found) and of_rows:
            return next(statistics[v] for v in found if v in statistics)
        if not of_rows:
            statistics.update(dict.fromkeys(node.outputs, statistics[found[0]]))
        elif isinstance(node.op, (elemwise.CAReduce, basic.MaxAndArgmax)) and of_rows[0].ndim:
            axis = node.op.axis
            if axis is None or 0 in axis:
                statistics.update(dict.fromkeys(node.outputs, str(node.op)))
    return None


def _describe(output, roles):
    if roles.get(output, FREE) is not None:
        return f"{output}, which is not one row a datum"
    while output.owner is not None:
        worse = [variable for variable in output.owner.inputs if roles.get(variable, FREE) is None]
        if not worse or dropout.is_dropout(output.owner):
            return str(output.owner.op)
        output = worse[0]
    return str(output)


def _role(node, found):
    """The role of a node's outputs, None if it is unknown; at least one input is not free."""
    for ops, rule in _RULES:
        if isinstance(node.op, ops):
            return rule(node, found)
    return None


def _elementwise(node, found):
    if isinstance(node.op.scalar_op, theano.scalar.Cast):
        return found[0]
    if not set(found) <= {FREE, ROWS}:
        return None
    fits = (
        not variable.broadcastable[0] if role is ROWS else role is FREE and variable.broadcastable[0]
        for variable, role in zip(node.inputs, found)
    )
    return ROWS if all(fits) else None


def _declared(node, found):
    """What an abstract Op says itself: it takes rows where it declares them, and the rest is the same for all."""
    declared = node.op.row_inputs
    fits = all(role is (ROWS if i in declared else FREE) for i, role in enumerate(found))
    return ROWS if declared and fits else None


def _first_input(node, found):
    """The first input brings the rows, the others (weights, biases, fixed sizes) are the same for all."""
    return ROWS if found[0] is ROWS and set(found[1:]) <= {FREE} else None


def _normalised(node, found):
    """Statistics that are given, or those of each row by itself."""
    trained = isinstance(node.op, bn.AbstractBatchNormTrain)
    return None if trained and 0 in node.op.axes else _first_input(node, found)


def _pooling(node, found):
    return _first_input(node, found) if node.inputs[0].ndim > node.op.ndim else None


def _product(node, found):
    return _first_input(node, found) if node.inputs[0].ndim > 1 else None


def _transposed_convolution(node, found):
    """Weights, then rows, then the size of the image without its batch."""
    return ROWS if found[1] is ROWS and found[0] is FREE and set(found[2:]) <= {FREE} else None


def _dimshuffle(node, found):
    return ROWS if found[0] is ROWS and node.op.new_order[:1] == (0,) else None


def _reduction(node, found):
    axis = node.op.axis
    return ROWS if found[0] is ROWS and axis is not None and 0 not in axis else None


def _unchanged(node, found):
    return found[0] if set(found[1:]) <= {FREE} else None


def _shape(node, found):
    return SHAPE if found[0] is ROWS else None


def _one_size(node, found):
    return COUNT if node.op.i == 0 else FREE


def _made_vector(node, found):
    return SHAPE if found[0] is COUNT and set(found[1:]) <= {FREE} else None


def _reshape(node, found):
    return ROWS if found == [ROWS, SHAPE] else None


def _alloc(node, found):
    value = node.inputs[0]
    spread = value.ndim < node.outputs[0].ndim or value.broadcastable[:1] == (True,)
    return ROWS if found[:2] == [FREE, COUNT] and set(found[2:]) <= {FREE} and spread else None


def _join(node, found):
    axis = node.inputs[0]
    known = isinstance(axis, theano.Constant) and axis.data > 0
    return ROWS if known and set(found[1:]) == {ROWS} else None


def _subtensor(node, found):
    first, *rest = subtensor.get_idx_list(node.inputs, node.op.idx_list)
    if set(found[1:]) <= {FREE}:
        if found[0] is ROWS and first == slice(None):
            return ROWS
        if found[0] is SHAPE and not rest:
            return _of_shape(first)
    return None


def _of_shape(index):
    """The role of a shape's entry, or of its beginning or end."""
    if isinstance(index, slice):
        start = 0 if index.start is None else _constant(index.start)
        if index.step is not None or start is None or start < 0:
            return None
        return SHAPE if start == 0 else FREE
    number = _constant(index)
    return None if number is None or number < 0 else COUNT if number == 0 else FREE


def _constant(index):
    return int(index.data) if isinstance(index, theano.Constant) else index if isinstance(index, int) else None


def _gather(node, found):
    """Rows of one table, their numbers given row by row (an embedding)."""
    return ROWS if found == [FREE, ROWS] else None


def _batched(node, found):
    return ROWS if set(found) == {ROWS} else None


_RULES = [
    (elemwise.Elemwise, _elementwise),
    (elemwise.DimShuffle, _dimshuffle),
    ((elemwise.CAReduce, basic.MaxAndArgmax), _reduction),
    ((compile_ops.ViewOp, basic.Rebroadcast, opt.Assert), _unchanged),
    (basic.Dot, _product),
    (AbstractOp, _declared),
    ((abstract_conv.AbstractConv2d, nnet.Softmax, nnet.LogSoftmax, nnet.SoftmaxWithBias), _first_input),
    (pool.Pool, _pooling),
    (abstract_conv.AbstractConv2d_gradInputs, _transposed_convolution),
    ((bn.AbstractBatchNormTrain, bn.AbstractBatchNormInference), _normalised),
    (compile_ops.Shape, _shape),
    (compile_ops.Shape_i, _one_size),
    (opt.MakeVector, _made_vector),
    (basic.Reshape, _reshape),
    (basic.Alloc, _alloc),
    (basic.Join, _join),
    (subtensor.Subtensor, _subtensor),
    (subtensor.AdvancedSubtensor1, _gather),
    (blas.BatchedDot, _batched),
]
