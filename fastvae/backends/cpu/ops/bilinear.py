"""Bilinear upsampling, and its gradient, in one threaded pass each, on NHWC."""

import theano.tensor as tt

from fastvae.backends.abstract import bilinear
from fastvae.backends.cpu.op import lowers
from fastvae.backends.cpu.ops.upsample import OfBlocks


class _Bilinear(OfBlocks):
    def settings(self, node):
        return (*self.abstract_op.factors, self.abstract_op.centred)


@lowers(bilinear.BilinearUpsample)
class BilinearUpsample(_Bilinear):
    """An abstract `BilinearUpsample` of images in NHWC."""


@lowers(bilinear.BilinearUpsampleGradient)
class BilinearUpsampleGradient(_Bilinear):
    """An abstract `BilinearUpsampleGradient` of images in NHWC."""


@lowers(tt.Reshape, stage="recognise")
def spelled(node):
    """Theano's `bilinear_upsampling`."""
    new = bilinear.of_bilinear_upsampling(node)
    return None if new is None or new.dtype != "float32" else [new]
