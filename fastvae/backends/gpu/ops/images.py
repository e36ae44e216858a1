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


@lowers(pool.Pool, stock.Pool)
class Pool(_OfWindows):
    """An abstract `Pool` on the GPU."""


@lowers(pool.PoolGradient, stock.MaxPoolGrad, stock.AveragePoolGrad)
class PoolGradient(_OfWindows):
    """An abstract `PoolGradient` on the GPU."""


@lowers(upsample.Upsample)
class Upsample(OnDevice):
    """An abstract `Upsample` on the GPU."""


@lowers(upsample.BlockSum)
class BlockSum(OnDevice):
    """An abstract `BlockSum` on the GPU."""


@lowers(bilinear.BilinearUpsample)
class BilinearUpsample(OnDevice):
    """An abstract `BilinearUpsample` on the GPU."""


@lowers(bilinear.BilinearUpsampleGradient)
class BilinearUpsampleGradient(OnDevice):
    """An abstract `BilinearUpsampleGradient` on the GPU."""


@lowers(pad.Pad)
class Pad(OnDevice):
    """An abstract `Pad` on the GPU; `Unpad` is a view there, as in Theano."""
