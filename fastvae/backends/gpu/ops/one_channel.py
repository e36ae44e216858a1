"""Convolutions of images of one channel: so few products a pixel that they cost less beside what reads the same images.

Regions (`gpu/fused/`) compute them there.
"""

from __future__ import annotations

from theano import scalar
from theano.gof import Apply, Op
from theano.gpuarray.type import GpuArrayType

from fastvae.backends.gpu.ops.convolution import Convolution


class OneChannel(Convolution):
    """A convolution that a region may compute; by itself it is cuDNN's."""


class ImageGradients(Op):
    """Of each image the gradient of a convolution by its weights: image, top, weights -> (N, elements of the weights).

    A reduction: over an image's pixels as many sums as the kernel has pixels. Of the weights only the shape counts.
    """

    __props__ = ("flip",)
    scalar_op, pre_scalar_op, acc_dtype = scalar.add, None, "float32"

    def __init__(self, flip):
        self.flip = flip

    def make_node(self, image, top, weights):
        inputs = [image, top, weights]
        return Apply(self, inputs, [GpuArrayType("float32", (False, False), image.type.context_name)()])
