"""The rows of a matrix as images, without a copy."""

from theano.gof import Apply

from fastvae.backends import abstract
from fastvae.backends.cpu.op import CpuOp, lowers


@lowers(abstract.Unflatten)
class Unflatten(CpuOp):
    """An `abstract.Unflatten`: a view of a contiguous matrix."""

    __props__ = ("abstract_op",)
    view_map = {0: [0]}

    def __init__(self, abstract_op):
        self.abstract_op = abstract_op

    def make_node(self, x):
        return Apply(self, [x], [v.type() for v in self.abstract_op.make_node(x).outputs])

    def settings(self, node):
        return self.abstract_op.shape

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].reshape((-1, *self.abstract_op.shape))

    def infer_shape(self, node, shapes):
        return self.abstract_op.infer_shape(node, shapes)
