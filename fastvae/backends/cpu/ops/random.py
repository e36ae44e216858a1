"""Theano's random numbers, the same ones, in vector code."""

import theano.tensor as tt
from theano.gof import Apply
from theano.sandbox.rng_mrg import mrg_uniform

from fastvae.backends.cpu.op import CpuOp, lowers


@lowers(mrg_uniform, stage="passes")
class Uniform(CpuOp):
    """The numbers, and the states after them, of Theano's generator `mrg_uniform`, float32."""

    __props__ = ("broadcastable", "inplace")
    overwrites = {0: 0}

    def __init__(self, broadcastable):
        self.broadcastable = tuple(broadcastable)

    @classmethod
    def lower(cls, node):
        states, shape = node.inputs
        if type(node.op) is not mrg_uniform or node.op.inplace or node.outputs[1].dtype != "float32":
            return None
        return cls(node.outputs[1].broadcastable)(states, tt.cast(shape, "int64"), return_list=True)

    def make_node(self, states, shape):
        return Apply(self, [states, shape], [states.type(), tt.TensorType("float32", self.broadcastable)()])

    def settings(self, node):
        return (len(self.broadcastable), self.inplace)

    def perform(self, node, inputs, outputs):
        mrg_uniform(node.outputs[1].type, inplace=self.inplace).perform(node, inputs, outputs, None)

    def infer_shape(self, node, shapes):
        return [shapes[0], tuple(node.inputs[1][i] for i in range(len(self.broadcastable)))]
