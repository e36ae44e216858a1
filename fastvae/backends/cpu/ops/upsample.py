"""Nearest-neighbour upsampling, and its gradient, in one threaded pass each, on NHWC."""

import theano.tensor as tt
from theano.compile.ops import Shape
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


@lowers(tt.Reshape, stage="recognise")
def repeated(node):
    """Repetition along axes of its own, as `upsample.of_blocks` finds it."""
    new = upsample.of_blocks(node)
    return None if new is None or new.dtype != "float32" else [new]


@lowers(tt.elemwise.Sum, stage="recognise")
def gradient_of_repeated(node):
    """The gradient that Theano makes of it: sums along these axes -> `BlockSum`."""
    inner = node.inputs[0].owner
    if node.outputs[0].ndim != 4 or not all_float32(node.inputs) or not inner or not isinstance(inner.op, tt.Reshape):
        return None
    g, shape = inner.inputs
    blocks = shape.owner.inputs[0] if shape.owner is not None and isinstance(shape.owner.op, Shape) else None
    found = upsample.blocks_of(blocks) if blocks is not None and g.ndim == 4 else None
    if found is None or node.op.axis != found[2]:
        return None
    return [upsample.BlockSum(found[1])(g)]
