"""Concatenation along an axis and its opposite, in one threaded pass each; Theano's Join and Split become these.

The channels of images in NHWC are their last axis.
"""

import numpy as np
import theano
import theano.tensor as tt
from theano.gof import Apply, local_optimizer

from fastvae.backends.cpu.op import CpuOp, all_float32, lowers, replaced
from fastvae.backends.cpu.ops.layout import to_nchw, to_nhwc


class _AlongAxis(CpuOp):
    __props__ = ("axis",)

    def __init__(self, axis):
        self.axis = axis

    def settings(self, node):
        return (self.axis, node.inputs[0].ndim)


@lowers(tt.Join, stage="passes")
class Concatenate(_AlongAxis):
    """Arrays side by side along an axis."""

    @classmethod
    def lower(cls, node):
        axis, *arrays = node.inputs
        known = isinstance(axis, theano.Constant) and all_float32(arrays) and arrays[0].ndim > 1
        return [cls(int(axis.data) % arrays[0].ndim)(*arrays)] if known else None

    def make_node(self, *arrays):
        kept = [any(known) for known in zip(*(v.broadcastable for v in arrays))]
        kept[self.axis] = False
        return Apply(self, list(arrays), [tt.TensorType("float32", kept)()])

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.concatenate(inputs, self.axis)

    def infer_shape(self, node, shapes):
        first, axis = shapes[0], self.axis
        return [(*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])]


@lowers(tt.Split, stage="passes")
class Split(_AlongAxis):
    """An array's parts along an axis, whose lengths are the second input, int64."""

    __props__ = ("axis", "parts")

    def __init__(self, axis, parts):
        super().__init__(axis)
        self.parts = parts

    @classmethod
    def lower(cls, node):
        x, axis, lengths = node.inputs
        if not isinstance(axis, theano.Constant) or not all_float32([x]) or x.ndim < 2 or any(x.broadcastable):
            return None
        return cls(int(axis.data) % x.ndim, len(node.outputs))(x, tt.cast(lengths, "int64"), return_list=True)

    def make_node(self, x, lengths):
        return Apply(self, [x, lengths], [x.type() for _ in range(self.parts)])

    def perform(self, node, inputs, outputs):
        x, lengths = inputs
        if len(lengths) != self.parts or min(lengths) < 0 or sum(lengths) != x.shape[self.axis]:
            raise ValueError(f"Split: parts of {lengths} do not make {x.shape[self.axis]} along axis {self.axis}")
        for cell, part in zip(outputs, np.split(x, np.cumsum(lengths)[:-1], self.axis)):
            cell[0] = np.ascontiguousarray(part)

    def infer_shape(self, node, shapes):
        before, after = shapes[0][: self.axis], shapes[0][self.axis + 1 :]
        return [(*before, node.inputs[1][i], *after) for i in range(self.parts)]


def _axis_in_nhwc(axis):
    return tt.constant(to_nchw.order[int(axis.data)]) if isinstance(axis, theano.Constant) else None


@local_optimizer([tt.Join])
def local_join_layout(node):
    """join(axis, to_nchw(x), y...) -> to_nchw of the join of x and to_nhwc(y)..., along the same axis in NHWC"""
    axis, *arrays = node.inputs
    if not any(v.owner and v.owner.op == to_nchw for v in arrays) or not all_float32(arrays):
        return False
    axis = _axis_in_nhwc(axis)
    return False if axis is None else replaced(node, [to_nchw(tt.join(axis, *map(to_nhwc, arrays)))])


@local_optimizer([tt.Split])
def local_split_layout(node):
    """split(to_nchw(x), axis) -> to_nchw of each part of x, along the same axis in NHWC"""
    x, axis, lengths = node.inputs
    axis = _axis_in_nhwc(axis) if x.owner and x.owner.op == to_nchw else None
    if axis is None:
        return False
    return replaced(node, [to_nchw(part) for part in node.op(x.owner.inputs[0], axis, lengths, return_list=True)])


LAYOUTS = local_join_layout, local_split_layout
