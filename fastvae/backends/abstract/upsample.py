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
from theano import Constant, scalar
from theano.gof import Apply

from fastvae.backends.abstract.op import AbstractOp
from fastvae.backends.abstract.sizes import as_size, entries
from fastvae.backends.abstract.spellings import number, operands, recognises


class OfBlocks(AbstractOp):
    """An Op of images (N, C, H, W) and blocks of so many rows and columns of pixels."""

    __props__ = ("factors",)
    row_inputs = (0,)

    def __init__(self, factors):
        self.factors = tuple(factors)

    def make_node(self, x):
        x = tt.as_tensor_variable(x)
        return Apply(self, [x], [tt.TensorType(x.dtype, [*x.broadcastable[:2], False, False])()])

    def settings(self, node):
        """The constants that the backends' C code takes."""
        return self.factors

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


@recognises(tt.Reshape)
def of_blocks(node):
    """``alloc(x.dimshuffle(0, 1, 2, "x", 3, "x"), n, c, h, a, w, b).reshape((n, c, a * h, b * w))`` -> `Upsample`.

    A product with ones stands for the alloc too. `repeat` writes one axis so, and Keras's `repeat_elements` and
    Lasagne's upscaling repeat both, one after the other.
    """
    blocks, shape = node.inputs
    found, sizes = blocks_of(blocks), entries(shape)
    if found is None or sizes is None or len(sizes) != 4:
        return None
    x, factors, _ = found
    known = [as_size(size, x, axis) == (factor, 0) for axis, (size, factor) in enumerate(zip(sizes, (1, 1, *factors)))]
    return upsampled(x, factors) if sum(known) >= 3 else None  # the fourth follows, also where it is given as -1


def upsampled(x, factors):
    """`Upsample`, one for all repetitions of repetitions."""
    while x.owner is not None and isinstance(x.owner.op, Upsample):
        (x,), factors = x.owner.inputs, [a * b for a, b in zip(factors, x.owner.op.factors)]
    return Upsample(factors)(x)


def blocks_of(variable):
    """(x, factors, axes) of an expression that repeats images' pixels along axes of their own; None if it is none."""
    spread, sizes = _spread(variable)
    if spread is None or not isinstance(spread.op, tt.DimShuffle) or spread.inputs[0].ndim != 4:
        return None
    (x,), order = spread.inputs, spread.op.new_order
    if len(sizes) != len(order) or [i for i in order if i != "x"] != [0, 1, 2, 3] or order[0] == "x":
        return None
    factors = [1, 1, 1, 1]
    for place, (i, size) in enumerate(zip(order, sizes)):
        last = order[place - 1]
        if i == "x" and last != "x" and last > 1 and (number(size) or 0) >= 1:
            factors[last] = int(number(size))
        elif i == "x" or (as_size(size, x, i) != (1, 0) and number(size) != 1):
            return None
    return x, factors[2:], tuple(place for place, i in enumerate(order) if i == "x")


def _spread(variable):
    """The node of what an alloc, or a product with ones, repeats, and the sizes; (None, []) for anything else."""
    if variable.owner is not None and isinstance(variable.owner.op, tt.Alloc):
        value, *sizes = variable.owner.inputs
        return value.owner, sizes
    product = operands(variable, scalar.Mul)
    for value, ones in zip(product, product[::-1]) if len(product) == 2 else ():
        if _sizes_of_ones(ones):
            return value.owner, _sizes_of_ones(ones)
    return None, []


def _sizes_of_ones(variable):
    """The sizes of a tensor of ones, none of anything else."""
    node = variable.owner
    if node is not None and isinstance(node.op, tt.Alloc) and number(node.inputs[0]) == 1:
        return node.inputs[1:]
    known = isinstance(variable, Constant) and number(variable) == 1
    return [tt.constant(n) for n in variable.data.shape] if known else []
