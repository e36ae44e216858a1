"""Sums over all axes, or over all but the last."""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.cpu.op import CpuOp, lowers


class ColumnSum(CpuOp):
    """The sum over all axes but the last."""

    __props__ = ()

    def make_node(self, x):
        return Apply(self, [x], [tt.TensorType("float32", [x.broadcastable[-1]])()])

    def settings(self, node):
        return (node.inputs[0].ndim,)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].sum(tuple(range(inputs[0].ndim - 1)), dtype="float64").astype("float32")

    def infer_shape(self, node, shapes):
        return [(shapes[0][-1],)]


@lowers(tt.elemwise.Sum, stage="passes")
class Total(CpuOp):
    """The sum over all axes."""

    __props__ = ()

    @classmethod
    def lower(cls, node):
        (x,) = node.inputs
        return [cls()(x)] if x.dtype == "float32" and x.ndim > 1 and node.outputs[0].ndim == 0 else None

    def make_node(self, x):
        return Apply(self, [x], [tt.fscalar()])

    def settings(self, node):
        return (node.inputs[0].ndim,)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.asarray(inputs[0].sum(dtype="float64"), "float32")

    def infer_shape(self, node, shapes):
        return [()]
