"""The abstract Ops of padding images with zeros, around them and between their pixels, and of taking them off again.

Each is the other's gradient. What users write for it is a `set_subtensor` into zeros.

Examples
--------
>>> x = np.array([[[[1, 2]]]], "float32")
>>> padded = Pad(low=(0, 1), high=(0, 2), step=(1, 2))(x)
>>> padded.eval().tolist(), Unpad((0, 1), (0, 2), (1, 2))(padded).eval().tolist()
([[[[0.0, 1.0, 0.0, 2.0, 0.0, 0.0]]]], [[[[1.0, 2.0]]]])
"""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply
from theano.tensor.subtensor import IncSubtensor, get_idx_list

from fastvae.backends.abstract.op import AbstractOp
from fastvae.backends.abstract.sizes import as_size
from fastvae.backends.abstract.spellings import number, recognises, whole


class _OfZeros(AbstractOp):
    """An Op of images and zeros.

    Parameters
    ----------
    low, high : (int, int)
        Rows of zeros above and columns at the left; below and at the right.
    step : (int, int)
        Rows and columns from one pixel to the next; zeros between them if that is more than 1.
    """

    __props__ = ("low", "high", "step")
    row_inputs = (0,)

    def __init__(self, low, high, step=(1, 1)):
        self.low, self.high, self.step = tuple(low), tuple(high), tuple(step)

    def make_node(self, x):
        x = tt.as_tensor_variable(x)
        return Apply(self, [x], [tt.TensorType(x.dtype, [*x.broadcastable[:2], False, False])()])

    def settings(self, node):
        """The constants that the backends' C code takes."""
        return (*self.low, *self.high, *self.step)

    def larger(self, shape):
        """The shape with zeros of images whose shape is without."""
        n, c, *sizes = shape
        of = zip(sizes, self.low, self.high, self.step)
        return (n, c, *((size - 1) * step + 1 + low + high for size, low, high, step in of))

    def smaller(self, shape):
        """The shape without zeros of images whose shape is with them."""
        n, c, *sizes = shape
        of = zip(sizes, self.low, self.high, self.step)
        return (n, c, *((size - low - high - 1) // step + 1 for size, low, high, step in of))

    def pixels(self, shape):
        """The index of the pixels among zeros, for the shape with these."""
        of = zip(shape[2:], self.low, self.high, self.step)
        return (slice(None), slice(None), *(slice(low, size - high, step) for size, low, high, step in of))


class Pad(_OfZeros):
    """Images (N, C, H, W) among zeros."""

    def perform(self, node, inputs, outputs):
        y = np.zeros(self.larger(inputs[0].shape), inputs[0].dtype)
        y[self.pixels(y.shape)] = inputs[0]
        outputs[0][0] = y

    def stock(self, x):
        shape = self.larger([x.shape[i] for i in range(4)])
        return tt.set_subtensor(tt.zeros(shape, x.dtype)[self.pixels(shape)], x)

    def grad(self, inputs, gradients):
        gradient = Unpad(self.low, self.high, self.step)(gradients[0])
        return [tt.patternbroadcast(gradient, inputs[0].broadcastable)]

    def infer_shape(self, node, shapes):
        return [self.larger(shapes[0])]


class Unpad(_OfZeros):
    """The pixels of images among zeros, whatever is in the place of these."""

    def perform(self, node, inputs, outputs):
        (x,) = inputs
        if self.larger(self.smaller(x.shape)) != x.shape or min(self.smaller(x.shape)) < 0:
            raise ValueError(f"Unpad: images of {x.shape[2]} x {x.shape[3]} are none between zeros {self}")
        outputs[0][0] = x[self.pixels(x.shape)].copy()

    def stock(self, x):
        return x[self.pixels([x.shape[i] for i in range(4)])]

    def grad(self, inputs, gradients):
        gradient = Pad(self.low, self.high, self.step)(gradients[0])
        return [tt.patternbroadcast(gradient, inputs[0].broadcastable)]

    def infer_shape(self, node, shapes):
        return [self.smaller(shapes[0])]


@recognises(IncSubtensor)
def of_set_subtensor(node):
    """``set_subtensor(zeros(shape)[:, :, i:j:k, l:m:n], x)`` -> `Pad`, where the shape and the index are of x's sizes.

    Lasagne writes its dilating upscaling and its padding so, and Keras its padding.
    """
    zeros, x, *index = node.inputs
    made = zeros.owner
    if (
        x.ndim != 4
        or zeros.ndim != 4
        or made is None
        or not isinstance(made.op, tt.Alloc)
        or number(made.inputs[0]) != 0
    ):
        return None
    slices = get_idx_list([zeros, *index], node.op.idx_list)
    slices = [*slices, *[slice(None)] * (4 - len(slices))]
    found = [_zeros(x, axis, size, s) for axis, (size, s) in enumerate(zip(made.inputs[1:], slices))]
    if None in found or found[:2] != [(0, 0, 1)] * 2:
        return None
    return Pad(*zip(*found[2:]))(x)


def _zeros(x, axis, size, index):
    """(low, high, step) of an axis of so many zeros, at an index of which x is set; None if that is not known."""
    if not isinstance(index, slice):
        return None
    start = 0 if index.start is None else whole(index.start)
    step = 1 if index.step is None else whole(index.step)
    total = as_size(size, x, axis)
    if start is None or start < 0 or not step or step < 1 or total is None:
        return None
    end = total
    if index.stop is not None:
        stop = whole(index.stop)
        end = (total[0], total[1] + stop) if stop is not None and stop < 0 else _variable(index.stop, x, axis)
        if end is None:
            return None
    a, b = end
    # As many places as x is long: from the start to what is no more than one step behind the last of them.
    if a != step or total[0] != step or not -step < b - start <= 0 or b > total[1]:
        return None
    return start, total[1] - start + step - 1, step


def _variable(stop, x, axis):
    """The end of a slice that is no negative number, as `as_size` gives it."""
    node = getattr(stop, "owner", None)
    known = node is not None and isinstance(node.op, tt.ScalarFromTensor)
    return as_size(node.inputs[0], x, axis) if known else None
