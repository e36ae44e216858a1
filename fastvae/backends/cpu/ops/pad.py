"""Images among zeros, and their pixels alone again, in one threaded pass each, on NHWC."""

import theano.tensor as tt
from theano.gof import Apply
from theano.tensor.subtensor import IncSubtensor

from fastvae.backends.abstract import pad
from fastvae.backends.cpu.op import CpuOp, all_float32, lowers
from fastvae.backends.cpu.ops.layout import nchw, nhwc, to_nchw, to_nhwc


class _OfZeros(CpuOp):
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
        return (*self.abstract_op.low, *self.abstract_op.high, *self.abstract_op.step)

    def perform(self, node, inputs, outputs):
        self.abstract_op.perform(node, [nchw(inputs[0])], outputs)
        outputs[0][0] = nhwc(outputs[0][0])

    def infer_shape(self, node, shapes):
        return [nhwc(self.abstract_op.infer_shape(node, [nchw(shapes[0])])[0])]


@lowers(pad.Pad)
class Pad(_OfZeros):
    """An abstract `Pad` of images in NHWC."""


@lowers(pad.Unpad)
class Unpad(_OfZeros):
    """An abstract `Unpad` of images in NHWC."""


@lowers(IncSubtensor, stage="recognise")
def set_in_zeros(node):
    """`set_subtensor` into zeros, as `pad.of_set_subtensor` finds it."""
    new = pad.of_set_subtensor(node)
    return None if new is None or new.dtype != "float32" else [new]
