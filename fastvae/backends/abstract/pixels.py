"""What the abstract Ops of pixel likelihoods share: images, and a decoder's outputs for each pixel and channel.

Examples
--------
>>> from fastvae.backends.abstract.categorical import CategoricalLogProb
>>> op = CategoricalLogProb(levels=3)
>>> op.each, op.by_output(np.zeros((2, 12, 5, 7))).shape  # four channels
(3, (2, 4, 3, 5, 7))
"""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.abstract.op import AbstractOp


class PixelOp(AbstractOp):
    """An Op of images, (batch, C, H, W), the decoder's outputs, (batch, C each, H, W), and other images.

    A subclass has `types(x, outputs)`, its results' variables, and `computed(lib, *inputs)`, one expression for numpy
    and Theano alike. `each` is the number of outputs for a pixel and channel, those of a channel side by side;
    `constants` are its settings in compiled code.
    """

    def make_node(self, x, outputs, *rest):
        x, outputs, *rest = map(tt.as_tensor_variable, (x, outputs, *rest))
        return Apply(self, [x, outputs, *rest], self.types(x, outputs))

    def perform(self, node, inputs, outputs):
        for cell, value, variable in zip(outputs, self.computed(np, *inputs), node.outputs):
            cell[0] = np.asarray(value, variable.dtype)

    def stock(self, *inputs):
        return self.computed(tt, *inputs)

    def by_output(self, outputs):
        """(batch, C, each, H, W)"""
        n, channels, height, width = (outputs.shape[i] for i in range(4))
        return outputs.reshape((n, channels // self.each, self.each, height, width))
