"""What the backends' Ops have in common that set an array at a slice of zeros: the gradient of a slice.

There is no abstract Op of it: Theano's own graph, an `IncSubtensor` of an `Alloc`, is what they take the place of.

Examples
--------
>>> import theano
>>> x = tt.fvector("x")
>>> node = tt.inc_subtensor(tt.zeros(7, "float32")[1::3], x).owner
>>> slice_of_zeros(node)
(x, [TensorConstant{7}], (1,), (3,))
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt
from theano.gof import Apply, Op
from theano.tensor.subtensor import get_idx_list

from fastvae.backends.abstract.spellings import number, whole

MAX_AXES = 4


class OfSlice(Op):
    """The first input at a slice of zeros, whose shape the others, scalars of int64, are.

    Parameters
    ----------
    starts, steps : tuple of int
        Of the slice, for each axis; a negative start counts from the end. It is as long as the input.
    broadcastable : tuple of bool
        Of the result.
    """

    __props__ = ("starts", "steps", "broadcastable")

    def __init__(self, starts, steps, broadcastable):
        self.starts, self.steps, self.broadcastable = tuple(starts), tuple(steps), tuple(broadcastable)

    def __repr__(self):
        return str(self)

    def make_node(self, x, *shape):
        return Apply(self, [x, *shape], [tt.TensorType("float32", self.broadcastable)()])

    def settings(self, node):
        before = MAX_AXES - len(self.starts)
        return (len(self.starts), *[0] * before, *self.starts, *[1] * before, *self.steps)

    def perform(self, node, inputs, outputs):
        x, *shape = inputs
        y = np.zeros(shape, "float32")
        first = [start + size if start < 0 else start for start, size in zip(self.starts, shape)]
        place = tuple(slice(i, i + (n - 1) * k + 1 if n else i, k) for i, n, k in zip(first, x.shape, self.steps))
        y[place] = x
        outputs[0][0] = y

    def infer_shape(self, node, shapes):
        return [node.inputs[1:]]

    def connection_pattern(self, node):
        return [[True], *([False] for _ in node.inputs[1:])]


def slice_of_zeros(node: Any, *makers: type) -> tuple[Any, list, tuple[int, ...], tuple[int, ...]] | None:
    """(x, the result's sizes, starts, steps) if an `IncSubtensor` puts x into zeros, at a slice that is known.

    `makers` are Ops that make zeros as an `Alloc` does.
    """
    zeros, x, *index = node.inputs
    made, out = zeros.owner, node.outputs[0]
    if made is None or not isinstance(made.op, (tt.Alloc, *makers)) or number(made.inputs[0]) != 0:
        return None
    if {x.dtype, out.dtype} != {"float32"} or not 1 <= x.ndim == out.ndim <= MAX_AXES:
        return None
    slices = get_idx_list([zeros, *index], node.op.idx_list)
    slices = [*slices, *[slice(None)] * (out.ndim - len(slices))]
    # A broadcast axis of x may be spread over the slice, whose length is not known here.
    if not all(isinstance(s, slice) for s in slices) or any(x.broadcastable):
        return None
    starts = [0 if s.start is None else whole(s.start) for s in slices]
    steps = [1 if s.step is None else whole(s.step) for s in slices]
    if None in starts or any(step is None or step < 1 for step in steps):
        return None
    return x, made.inputs[1:], tuple(starts), tuple(steps)
