"""Pooling, upsampling, padding and their gradients on the GPU, one launch each, NCHW.

Kernels of our own: cuDNN's pooling gives the gradient of equal maxima to one of them, Theano's to all, and it has no
window that reaches beyond the image's end; of resampling it has nothing.
"""

from theano.tensor.signal import pool as stock

from fastvae.backends.abstract import bilinear, pad, pool, upsample
from fastvae.backends.gpu.op import OnDevice, lowers


class _OfWindows(OnDevice):
    """An Op of images and the windows in them; Theano's own too."""

    @classmethod
    def defer(cls, node):
        if not isinstance(node.op, pool._OfWindows):
            (new,) = pool.of_stock(node) or (None,)
            node = None if new is None else new.owner
        is_sound = node is not None and all(p < w for p, w in zip(node.op.padding, node.op.window))
        return super().defer(node) if is_sound else None

    def do_constant_folding(self, node):
        return self.abstract_op.do_constant_folding(node)

    def settings(self, node):
        m = self.abstract_op
        mode = "average_exc_pad" if m.mode == "average_inc_pad" and not m.ignore_border else m.mode
        return (pool.MODES.index(mode), m.ignore_border, *m.window, *m.stride, *m.padding, m.fits)


@lowers(pool.Pool, stock.Pool)
class Pool(_OfWindows):
    """An abstract `Pool` on the GPU."""


@lowers(pool.PoolGradient, stock.MaxPoolGrad, stock.AveragePoolGrad)
class PoolGradient(_OfWindows):
    """An abstract `PoolGradient` on the GPU."""


class _OfBlocks(OnDevice):
    def settings(self, node):
        return self.abstract_op.factors


@lowers(upsample.Upsample)
class Upsample(_OfBlocks):
    """An abstract `Upsample` on the GPU."""


@lowers(upsample.BlockSum)
class BlockSum(_OfBlocks):
    """An abstract `BlockSum` on the GPU."""


class _Bilinear(OnDevice):
    def settings(self, node):
        return (*self.abstract_op.factors, self.abstract_op.centred)


@lowers(bilinear.BilinearUpsample)
class BilinearUpsample(_Bilinear):
    """An abstract `BilinearUpsample` on the GPU."""


@lowers(bilinear.BilinearUpsampleGradient)
class BilinearUpsampleGradient(_Bilinear):
    """An abstract `BilinearUpsampleGradient` on the GPU."""


@lowers(pad.Pad)
class Pad(OnDevice):
    """An abstract `Pad` on the GPU; `Unpad` is a view there, as in Theano."""

    def settings(self, node):
        return (*self.abstract_op.low, *self.abstract_op.high, *self.abstract_op.step)
