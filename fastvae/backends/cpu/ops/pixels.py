"""Likelihoods of pixels, and their gradients: every abstract `PixelOp` in one threaded pass."""

from theano.gof import Apply

from fastvae.backends.abstract.pixels import PixelOp
from fastvae.backends.cpu.op import CpuOp, all_float32, lowers
from fastvae.backends.cpu.ops.layout import nchw, nhwc, to_nchw, to_nhwc


@lowers(PixelOp)
class PixelPass(CpuOp):
    """A `PixelOp`; its C kind has the same name. With `last` the decoder's outputs have their channels last."""

    part = "likelihoods"

    __props__ = ("abstract_op", "last")

    def __init__(self, abstract_op, last):
        self.abstract_op, self.last = abstract_op, last

    @property
    def kind(self):
        return type(self.abstract_op).__name__

    @classmethod
    def lower(cls, node):
        """On NHWC where a convolution is the decoder's end."""
        if not all_float32(node.inputs):
            return None
        x, of_decoder, *rest = node.inputs
        last = of_decoder.owner is not None and of_decoder.owner.op == to_nchw
        of_decoder = to_nhwc(of_decoder) if last else of_decoder
        outputs = cls(node.op, last)(x, of_decoder, *rest, return_list=True)
        return [to_nchw(outputs[0])] if last and rest else outputs

    def make_node(self, x, of_decoder, *rest):
        return Apply(self, [x, of_decoder, *rest], self.abstract_op.types(x, of_decoder))

    def settings(self, node):
        return (*self.abstract_op.constants, self.last)

    def perform(self, node, inputs, outputs):
        x, of_decoder, *rest = inputs
        self.abstract_op.perform(node, [x, nchw(of_decoder) if self.last else of_decoder, *rest], outputs)
        if self.last and rest:
            outputs[0][0] = nhwc(outputs[0][0])

    def infer_shape(self, node, shapes):
        return self.abstract_op.infer_shape(node, shapes)
