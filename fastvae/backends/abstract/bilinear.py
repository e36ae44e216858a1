"""The abstract Ops of bilinear upsampling: the image between its pixels, and the gradient of that.

Along an axis of H pixels that becomes r H, pixel i of the result lies at ``s = (i - shift) / r`` between the pixels 0,
1, ... H - 1, clipped to these, and is ``(1 - t) x[floor(s)] + t x[floor(s) + 1]`` with ``t = s - floor(s)``. There are
two conventions of the shift:

* centred, ``shift = (r - 1) / 2``: the result covers the same area as the image, as with PyTorch's
  ``align_corners=False``;
* not centred, ``shift = (r - 1) // 2``: Theano's `bilinear_upsampling`. Both are the same for an odd r. For an even one
  Theano's result is half a pixel off to the left and the top, where it passes through the image's own pixels.

Examples
--------
>>> x = np.array([[[[0, 4]]]], "float32")
>>> BilinearUpsample((1, 2))(x).eval().tolist()
[[[[0.0, 1.0, 3.0, 4.0]]]]
>>> BilinearUpsample((1, 2), centred=False)(x).eval().tolist()
[[[[0.0, 2.0, 4.0, 4.0]]]]
"""

import numpy as np
import theano.tensor as tt
from theano.scan_module.scan_utils import equal_computations
from theano.tensor.nnet import abstract_conv

from fastvae.backends.abstract.sizes import as_size, entries
from fastvae.backends.abstract.spellings import recognises
from fastvae.backends.abstract.upsample import OfBlocks


class _Bilinear(OfBlocks):
    __props__ = ("factors", "centred")

    def __init__(self, factors, centred=True):
        super().__init__(factors)
        self.centred = centred

    def settings(self, node):
        return (*self.factors, self.centred)

    def matrix(self, lib, size, axis, dtype):
        """The weights (pixels of the larger image, those of the smaller) along an axis (0 or 1)."""
        r = self.factors[axis]
        twice_the_shift = r - 1 if self.centred else (r - 1) // 2 * 2
        places = lib.clip(2 * lib.arange(r * size) - twice_the_shift, 0, 2 * r * (size - 1))  # in pixels / (2 r)
        distance = abs(places[:, None] - 2 * r * lib.arange(size)[None, :])
        return lib.maximum(2 * r - distance, 0).astype(dtype) / np.asarray(2 * r, dtype)

    def matrices(self, lib, x):
        """Of both axes, for an input x of the Op."""
        raise NotImplementedError

    def computed(self, lib, x):
        """The product of x with the matrices of its axes."""
        rows, columns = self.matrices(lib, x)
        return x.dot(columns).transpose(0, 1, 3, 2).dot(rows).transpose(0, 1, 3, 2)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.ascontiguousarray(self.computed(np, inputs[0]))

    def stock(self, x):
        return self.computed(tt, x)


class BilinearUpsample(_Bilinear):
    """(N, C, H, W) -> (N, C, rows * H, columns * W), with factors (rows, columns)."""

    def matrices(self, lib, x):
        return [self.matrix(lib, x.shape[axis + 2], axis, x.dtype).T for axis in (0, 1)]

    def grad(self, inputs, gradients):
        gradient = BilinearUpsampleGradient(self.factors, self.centred)(gradients[0])
        return [tt.patternbroadcast(gradient, inputs[0].broadcastable)]

    def infer_shape(self, node, shapes):
        return [self.larger(shapes[0])]


class BilinearUpsampleGradient(_Bilinear):
    """The adjoint of `BilinearUpsample`: (N, C, rows * H, columns * W) -> (N, C, H, W)."""

    def perform(self, node, inputs, outputs):
        self.check(inputs[0].shape)
        super().perform(node, inputs, outputs)

    def matrices(self, lib, x):
        return [self.matrix(lib, x.shape[axis + 2] // self.factors[axis], axis, x.dtype) for axis in (0, 1)]

    def grad(self, inputs, gradients):
        gradient = BilinearUpsample(self.factors, self.centred)(gradients[0])
        return [tt.patternbroadcast(gradient, inputs[0].broadcastable)]

    def infer_shape(self, node, shapes):
        return [self.smaller(shapes[0])]


@recognises(tt.Reshape)
def of_bilinear_upsampling(node):
    """Theano's `bilinear_upsampling` by whole ratios -> `BilinearUpsample`; it ends in a reshape of a convolution."""
    enlarged = node.inputs[0].owner
    for x in _images(node.inputs[1]) if enlarged is not None else ():
        factors, same = _bilinear_upsampling(x, enlarged.op)
        # The same graph, made anew, says that nothing else was written.
        if same is not None and equal_computations([same], node.outputs):
            return BilinearUpsample(factors, centred=False)(x)
    return None


def _bilinear_upsampling(x, op):
    """The factors and the expression if Theano's function ends in a convolution by this Op, else (None, None)."""
    if isinstance(op, abstract_conv.AbstractConv2d_gradInputs):
        ratio, images = max(op.subsample), op.imshp[0]  # of batch and channels only the product is known
        sizes = dict(batch_size=images, num_input_channels=None if images is None else 1)
        one_axis = min(op.subsample) < ratio
        return (ratio, ratio), abstract_conv.bilinear_upsampling(x, ratio, use_1D_kernel=one_axis, **sizes)
    if isinstance(op, abstract_conv.AbstractConv2d) and op.subsample == (1, 1):
        factors = tuple(map(int, op.filter_dilation))
        fractions = tuple((factor, 1) for factor in factors)
        return factors, abstract_conv.bilinear_upsampling(x, frac_ratio=fractions, use_1D_kernel=False)
    return None, None


def _images(shape):
    """The images whose sizes a shape begins with."""
    first = (entries(shape) or [shape])[0].owner
    made = first.inputs[0].owner if first is not None and first.inputs else None
    x = made.inputs[0] if made is not None and made.inputs else None
    return [x] if x is not None and x.ndim == 4 and as_size(first.outputs[0], x, 0) == (1, 0) else []
