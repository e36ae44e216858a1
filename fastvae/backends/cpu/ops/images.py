"""What Ops share that stand for an abstract Op of images alone, such as pooling and upsampling, on NHWC."""

import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.cpu.op import CpuOp, all_float32
from fastvae.backends.cpu.ops.layout import nchw, nhwc, to_nchw, to_nhwc


class OfImages(CpuOp):
    """An abstract Op whose inputs and output are images, on NHWC; it keeps the first input's batch and channels."""

    __props__ = ("abstract_op",)

    def __init__(self, abstract_op):
        self.abstract_op = abstract_op

    @classmethod
    def lower(cls, node):
        return [to_nchw(cls(node.op)(*map(to_nhwc, node.inputs)))] if all_float32(node.inputs) else None

    def make_node(self, *images):
        n, _, _, c = images[0].broadcastable
        return Apply(self, list(images), [tt.TensorType("float32", [n, False, False, c])()])

    def settings(self, node):
        return self.abstract_op.settings(node)

    def do_constant_folding(self, node):
        return self.abstract_op.do_constant_folding(node)

    def perform(self, node, inputs, outputs):
        self.abstract_op.perform(node, list(map(nchw, inputs)), outputs)
        outputs[0][0] = nhwc(outputs[0][0])

    def infer_shape(self, node, shapes):
        return [nhwc(self.abstract_op.infer_shape(node, list(map(nchw, shapes)))[0])]
