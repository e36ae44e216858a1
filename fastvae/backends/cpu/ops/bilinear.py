"""Bilinear upsampling, and its gradient, in one threaded pass each, on NHWC."""

import theano.tensor as tt

from fastvae.backends.abstract import bilinear
from fastvae.backends.cpu.op import lowers, of_pattern
from fastvae.backends.cpu.ops.images import OfImages


@lowers(bilinear.BilinearUpsample)
class BilinearUpsample(OfImages):
    """An abstract `BilinearUpsample` of images in NHWC."""

    part = "resizing"


@lowers(bilinear.BilinearUpsampleGradient)
class BilinearUpsampleGradient(OfImages):
    """An abstract `BilinearUpsampleGradient` of images in NHWC."""

    part = "resizing"


# Theano's `bilinear_upsampling`.
lowers(tt.Reshape, stage="recognise")(of_pattern(bilinear.of_bilinear_upsampling))
