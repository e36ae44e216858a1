"""The abstract Ops of pooling: the maximum, sum or average over windows of pixels, and its gradient.

What they compute is Theano's `pool_2d` on images (N, C, H, W), including its C code's rule for NaN: a maximum is NaN
only where the first pixel of its window is.

Examples
--------
>>> x = np.array([[[[1, 5, 2, 3], [4, 0, 8, 7]]]], "float32")
>>> Pool((2, 2), mode="max")(x).eval().tolist()
[[[[5.0, 8.0]]]]
>>> Pool((2, 2), mode="average_exc_pad")(x).eval().tolist()
[[[[2.5, 5.0]]]]
"""

import itertools

import numpy as np
import theano
import theano.tensor as tt
from theano.gof import Apply
from theano.gradient import DisconnectedType
from theano.tensor.opt import Assert
from theano.tensor.signal import pool

from fastvae.backends.abstract.op import AbstractOp

MODES = ("max", "sum", "average_inc_pad", "average_exc_pad")


class _OfWindows(AbstractOp):
    """An Op of images and the windows in them.

    Parameters
    ----------
    window, stride, padding : (int, int)
        Rows and columns: of a window, from one to the next (by default the window), and of zeros on each side.
    mode : one of MODES
        What is taken of a window; maximum and sum are of the image's pixels alone. An average is over all pixels of a
        window, or but for the padding.
    ignore_border : bool
        Whether a window that reaches beyond the padded image is left out; if not, there must be no padding.
    fits : bool
        Whether images into which no window fits are an error. If not, their result is empty, as in Theano.
    """

    __props__ = ("window", "stride", "padding", "mode", "ignore_border", "fits")

    def __init__(self, window, stride=None, padding=(0, 0), mode="max", ignore_border=True, fits=False):
        self.window, self.padding, self.mode = tuple(window), tuple(padding), mode
        self.stride = self.window if stride is None else tuple(stride)
        self.ignore_border, self.fits = ignore_border, fits

    def do_constant_folding(self, node):
        """Not while images without a window are an error: it is one of the run, not of the compilation."""
        return not self.fits

    def pooled(self, size, axis):
        """The number of windows along an axis (0 or 1) of so many pixels; size may be symbolic."""
        window, stride = self.window[axis], self.stride[axis]
        if not self.ignore_border and stride >= window:
            return (size - 1) // stride + 1
        fits = (size + 2 * self.padding[axis] - window + (0 if self.ignore_border else stride - 1)) // stride
        return _at_least_0(fits + 1) if self.ignore_border else _at_least_0(fits) + 1

    def windows(self, size, axis):
        """Where the windows along an axis begin and end, without the padding."""
        starts = [i * self.stride[axis] - self.padding[axis] for i in range(self.pooled(size, axis))]
        return [(max(start, 0), min(start + self.window[axis], size)) for start in starts]

    def patches(self, shape):
        """Of each window, in order: the index of its result, that of its pixels, and by what their sum is divided."""
        rows, columns = (list(enumerate(self.windows(shape[axis + 2], axis))) for axis in (0, 1))
        for (i, (top, bottom)), (j, (left, right)) in itertools.product(rows, columns):
            whole = self.mode == "average_inc_pad" and self.ignore_border
            pixels = self.window[0] * self.window[1] if whole else max(bottom - top, 0) * max(right - left, 0)
            result, patch = np.s_[:, :, i, j], np.s_[:, :, top : max(bottom, top), left : max(right, left)]
            yield result, patch, 1 if self.mode == "sum" else pixels

    def settings(self, node):
        """The constants that the backends' C code takes."""
        mode = "average_exc_pad" if self.mode == "average_inc_pad" and not self.ignore_border else self.mode
        sizes = (*self.window, *self.stride, *self.padding)
        return (MODES.index(mode), self.ignore_border, *sizes, self.fits)

    def geometry(self):
        """The stock Ops' inputs behind the images."""
        return self.window, self.stride, self.padding

    def divides_by_hand(self):
        """Whether stock has no gradient of the average, because it leaves out padding."""
        return self.mode == "average_exc_pad" and any(self.padding)

    def number_of_pixels(self, x):
        """In each window, those of the image, as stock Ops; (1, 1, rows, columns)."""
        return pool.Pool(self.ignore_border, "sum")(tt.ones_like(x[:1, :1]), *self.geometry())


def _at_least_0(size):
    return tt.maximum(size, 0) if isinstance(size, tt.Variable) else max(size, 0)


class Pool(_OfWindows):
    """Each window's maximum, sum or average: (N, C, H, W) -> (N, C, rows of windows, columns of windows)."""

    row_inputs = (0,)

    def make_node(self, x):
        x = tt.as_tensor_variable(x)
        return Apply(self, [x], [tt.TensorType(x.dtype, [*x.broadcastable[:2], False, False])()])

    def perform(self, node, inputs, outputs):
        (x,) = inputs
        if self.fits and 0 in (self.pooled(size, axis) for axis, size in enumerate(x.shape[2:])):
            raise ValueError(f"Pool: {self.misfit()}, of {x.shape[2]} x {x.shape[3]}")
        y = np.empty((*x.shape[:2], *(self.pooled(x.shape[axis + 2], axis) for axis in (0, 1))), x.dtype)
        for result, patch, pixels in self.patches(x.shape):
            values = x[patch].reshape((*x.shape[:2], -1))
            if self.mode != "max":
                y[result] = values.sum(-1) / np.asarray(pixels, x.dtype)
            elif values.shape[-1]:
                y[result] = np.where(np.isnan(values[..., 0]), values[..., 0], np.fmax.reduce(values, -1))
            else:
                raise ValueError(f"Pool: a window has no pixel, in images of {x.shape[2]} x {x.shape[3]}")
        outputs[0][0] = y

    def misfit(self):
        """What is wrong with images that have no window."""
        (rows, columns), (above, left) = self.window, self.padding
        return f"windows of {rows} x {columns} do not fit into the images with padding {above} x {left}"

    def stock(self, x):
        if self.fits:
            x = Assert(f"Pool: {self.misfit()}")(x, *(self.pooled(x.shape[axis + 2], axis) > 0 for axis in (0, 1)))
        if self.divides_by_hand():
            return pool.Pool(True, "sum")(x, *self.geometry()) / tt.addbroadcast(self.number_of_pixels(x), 0, 1)
        return pool.Pool(self.ignore_border, self.mode)(x, *self.geometry())

    def L_op(self, inputs, outputs, gradients):
        gradient = PoolGradient(*self.geometry(), self.mode, self.ignore_border)
        return [gradient(*inputs, *(outputs if self.mode == "max" else []), *gradients)]

    def infer_shape(self, node, shapes):
        n, c, h, w = shapes[0]
        return [(n, c, self.pooled(h, 0), self.pooled(w, 1))]


class PoolGradient(_OfWindows):
    """The gradient of `Pool`: images x, of a maximum its result y, and y's gradient -> x's gradient.

    Every pixel that equals the maximum of a window has its gradient, as in Theano. In the other modes only the shape of
    x is looked at.
    """

    @property
    def row_inputs(self):
        return (0, 1, 2) if self.mode == "max" else (0, 1)

    def make_node(self, *inputs):
        inputs = list(map(tt.as_tensor_variable, inputs))
        return Apply(self, inputs, [inputs[0].type()])

    def perform(self, node, inputs, outputs):
        x, *y, g = inputs
        gradient = np.zeros_like(x)
        for result, patch, pixels in self.patches(x.shape):
            if y:
                gradient[patch] += np.where(x[patch] == y[0][result][..., None, None], g[result][..., None, None], 0)
            elif pixels:
                gradient[patch] += g[result][..., None, None] / np.asarray(pixels, x.dtype)
        outputs[0][0] = gradient

    def stock(self, *inputs):
        x, *y, g = inputs
        if y:
            return pool.MaxPoolGrad(self.ignore_border)(*inputs, *self.geometry())
        if self.divides_by_hand():
            g = g / tt.addbroadcast(self.number_of_pixels(x), 0, 1)
            return pool.AveragePoolGrad(True, "sum")(x, g, *self.geometry())
        return pool.AveragePoolGrad(self.ignore_border, self.mode)(x, g, *self.geometry())

    def grad(self, inputs, gradients):
        x, *y, _ = inputs
        if y:
            of_g = pool.DownsampleFactorMaxGradGrad(self.ignore_border)(x, *y, *gradients, *self.geometry())
        else:
            of_g = Pool(*self.geometry(), self.mode, self.ignore_border)(*gradients)
        return [*(DisconnectedType()() for _ in inputs[1:]), of_g]

    def connection_pattern(self, node):
        return [*([False] for _ in node.inputs[1:]), [True]]

    def infer_shape(self, node, shapes):
        return [shapes[0]]


def of_stock(node):
    """Theano's pooling of images, or its gradient, as abstract Ops, where the sizes of its windows are known.

    Examples
    --------
    >>> of_stock(pool.pool_2d(tt.ftensor4("x"), (2, 2), ignore_border=True).owner)
    [Pool{window=(2, 2), stride=(2, 2), padding=(0, 0), mode='max', ignore_border=True, fits=False}.0]
    """
    *images, window, stride, padding = node.inputs
    sizes = [v.data.tolist() for v in (window, stride, padding) if isinstance(v, theano.Constant)]
    if node.op.ndim != 2 or images[0].ndim != 4 or [len(s) for s in sizes] != [2, 2, 2]:
        return None
    if any(v.dtype != "float32" for v in images):
        return None
    if min(*sizes[0], *sizes[1]) < 1 or min(sizes[2]) < 0 or (any(sizes[2]) and not node.op.ignore_border):
        return None
    kind = Pool if isinstance(node.op, pool.Pool) else PoolGradient
    return [kind(*sizes, node.op.mode, bool(node.op.ignore_border))(*images)]
