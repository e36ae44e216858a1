"""Nearest-neighbour upsampling, and its gradient, in one threaded pass each, on NHWC."""

import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.abstract import upsample
from fastvae.backends.cpu.op import CpuOp, all_float32, lowers
from fastvae.backends.cpu.ops.layout import nchw, nhwc, to_nchw, to_nhwc


class OfBlocks(CpuOp):
    """An abstract Op of images and blocks of pixels, on NHWC."""

    __props__ = ("abstract_op",)

    def __init__(self, abstract_op):
        self.abstract_op = abstract_op

    @classmethod
    def lower(cls, node):
        return [to_nchw(cls(node.op)(to_nhwc(node.inputs[0])))] if all_float32(node.inputs) else None

    def make_node(self, x):
        n, _, _, c = x.broadcastable
        return Apply(self, [x], [tt.TensorType("float32", [n, False, False, c])()])

    def settings(self, node):
        return self.abstract_op.factors

    def perform(self, node, inputs, outputs):
        self.abstract_op.perform(node, [nchw(inputs[0])], outputs)
        outputs[0][0] = nhwc(outputs[0][0])

    def infer_shape(self, node, shapes):
        return [nhwc(self.abstract_op.infer_shape(node, [nchw(shapes[0])])[0])]


@lowers(upsample.Upsample)
class Upsample(OfBlocks):
    """An abstract `Upsample` of images in NHWC."""


@lowers(upsample.BlockSum)
class BlockSum(OfBlocks):
    """An abstract `BlockSum` of images in NHWC."""
