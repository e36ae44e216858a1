"""The gradient of ReLU from its output, in one threaded pass."""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends import abstract
from fastvae.backends.cpu.op import CpuOp, all_float32, lowers


@lowers(tt.Elemwise, stage="passes")
class ReluGradient(CpuOp):
    """g where y > 0, else 0."""

    __props__ = ("inplace",)
    overwrites = {0: 1}

    @classmethod
    def lower(cls, node):
        """`abstract.relu_gradient` of two tensors of one shape."""
        if node.op != abstract.relu_gradient or not all_float32(node.inputs):
            return None
        y, g = node.inputs
        return None if not 1 <= g.ndim <= 4 or any(y.broadcastable) or any(g.broadcastable) else [cls()(y, g)]

    def make_node(self, y, g):
        return Apply(self, [y, g], [g.type()])

    def settings(self, node):
        return (node.inputs[1].ndim, self.inplace)

    def perform(self, node, inputs, outputs):
        y, g = inputs
        outputs[0][0] = np.multiply(g, y > 0, out=g if self.inplace else None)

    def infer_shape(self, node, shapes):
        return [shapes[1]]
