"""The abstract Ops of nearest-neighbour upsampling: each pixel as a block of equal ones, and the sum over each block.

Each is the other's gradient.

Examples
--------
>>> x = np.array([[[[1, 2]]]], "float32")
>>> Upsample((2, 1))(x).eval().tolist()
[[[[1.0, 2.0], [1.0, 2.0]]]]
>>> BlockSum((1, 2))(x).eval().tolist()
[[[[3.0]]]]
"""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.abstract.op import AbstractOp


class OfBlocks(AbstractOp):
    """An Op of images (N, C, H, W) and blocks of so many rows and columns of pixels."""

    __props__ = ("factors",)
    row_inputs = (0,)

    def __init__(self, factors):
        self.factors = tuple(factors)

    def make_node(self, x):
        x = tt.as_tensor_variable(x)
        return Apply(self, [x], [tt.TensorType(x.dtype, [*x.broadcastable[:2], False, False])()])

    def larger(self, shape):
        """The shape of images, each pixel of which becomes a block."""
        (n, c, h, w), (rows, columns) = shape, self.factors
        return n, c, h * rows, w * columns

    def smaller(self, shape):
        """The shape of images, each block of which becomes a pixel."""
        (n, c, h, w), (rows, columns) = shape, self.factors
        return n, c, h // rows, w // columns

    def check(self, shape):
        """Raise ValueError unless images of this shape consist of whole blocks."""
        (h, w), (rows, columns) = shape[2:], self.factors
        if h % rows or w % columns:
            raise ValueError(
                f"{type(self).__name__}: images of {h} x {w} pixels do not consist of blocks of {rows} x {columns}"
            )


class Upsample(OfBlocks):
    """Each pixel as a block of equal ones: (N, C, H, W) -> (N, C, rows * H, columns * W)."""

    def perform(self, node, inputs, outputs):
        rows, columns = self.factors
        outputs[0][0] = inputs[0].repeat(rows, axis=2).repeat(columns, axis=3)

    def stock(self, x):
        (n, c, h, w), (rows, columns) = (x.shape[i] for i in range(4)), self.factors
        blocks = tt.alloc(x.dimshuffle(0, 1, 2, "x", 3, "x"), n, c, h, rows, w, columns)
        return blocks.reshape((n, c, h * rows, w * columns))

    def grad(self, inputs, gradients):
        return [tt.patternbroadcast(BlockSum(self.factors)(gradients[0]), inputs[0].broadcastable)]

    def infer_shape(self, node, shapes):
        return [self.larger(shapes[0])]


class BlockSum(OfBlocks):
    """The sum over each block of pixels: (N, C, rows * H, columns * W) -> (N, C, H, W)."""

    def perform(self, node, inputs, outputs):
        self.check(inputs[0].shape)
        (n, c, h, w), (rows, columns) = inputs[0].shape, self.factors
        blocks = inputs[0].reshape((n, c, h // rows, rows, w // columns, columns))
        outputs[0][0] = np.asarray(blocks.sum(axis=(3, 5)), inputs[0].dtype)

    def stock(self, x):
        (n, c, h, w), (rows, columns) = (x.shape[i] for i in range(4)), self.factors
        return x.reshape((n, c, h // rows, rows, w // columns, columns)).sum(axis=(3, 5))

    def grad(self, inputs, gradients):
        return [tt.patternbroadcast(Upsample(self.factors)(gradients[0]), inputs[0].broadcastable)]

    def infer_shape(self, node, shapes):
        return [self.smaller(shapes[0])]
