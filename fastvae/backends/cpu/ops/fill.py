"""A new array of one value, or of a smaller array again and again: Theano's Alloc in one threaded pass."""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.cpu.op import CpuOp, lowers


@lowers(tt.Alloc, stage="vectorize")
class Fill(CpuOp):
    """The first input broadcast to the shape that the others, scalars of int64, are."""

    __props__ = ("broadcastable",)

    def __init__(self, broadcastable):
        self.broadcastable = tuple(broadcastable)

    @classmethod
    def lower(cls, node):
        value, *shape = node.inputs
        out = node.outputs[0]
        if out.dtype != "float32" or all(out.broadcastable):
            return None
        return [cls(out.broadcastable)(value, *(tt.cast(length, "int64") for length in shape))]

    def make_node(self, value, *shape):
        return Apply(self, [value, *shape], [tt.TensorType("float32", self.broadcastable)()])

    def settings(self, node):
        return (len(self.broadcastable),)

    def perform(self, node, inputs, outputs):
        value, *shape = inputs
        outputs[0][0] = np.array(np.broadcast_to(value, shape))

    def infer_shape(self, node, shapes):
        return [node.inputs[1:]]

    def connection_pattern(self, node):
        return [[True], *([False] for _ in node.inputs[1:])]
