"""Bilinear upsampling, and its gradient, in one threaded pass each, on NHWC."""

import theano.tensor as tt

from fastvae.backends.abstract import bilinear
from fastvae.backends.cpu.op import lowers, of_pattern
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


# Theano's `bilinear_upsampling`.
lowers(tt.Reshape, stage="recognise")(of_pattern(bilinear.of_bilinear_upsampling))
