"""Rows of an array by their numbers, as a minibatch draws them."""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply
from theano.tensor.subtensor import AdvancedSubtensor1

from fastvae.backends.cpu.op import CpuOp, lowers


@lowers(AdvancedSubtensor1, stage="passes")
class TakeRows(CpuOp):
    """x[numbers], rows by their int64 numbers, in one threaded copy; x is float32 or uint8."""

    __props__ = ()

    @classmethod
    def lower(cls, node):
        x, numbers = node.inputs
        return [cls()(x, numbers)] if x.dtype in ("float32", "uint8") and numbers.dtype == "int64" else None

    def make_node(self, x, numbers):
        return Apply(self, [x, numbers], [tt.TensorType(x.dtype, numbers.broadcastable + x.broadcastable[1:])()])

    def settings(self, node):
        return (np.dtype(node.inputs[0].dtype).num,)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].take(inputs[1], axis=0)

    def infer_shape(self, node, shapes):
        return [shapes[1] + shapes[0][1:]]
