"""Pooling and its gradient, in one threaded pass each, on NHWC; Theano's own `pool_2d` becomes that too."""

from theano.gof import Apply
from theano.tensor.signal import pool as stock

from fastvae.backends.abstract import pool
from fastvae.backends.cpu.op import lowers
from fastvae.backends.cpu.ops.images import OfImages

# At first, and again for windows that are constants only once shapes have been simplified.
for stage in ("lift", "lower"):
    lowers(stock.Pool, stock.MaxPoolGrad, stock.AveragePoolGrad, stage=stage)(pool.of_stock)


class _OfWindows(OfImages):
    part = "resizing"
    of_images: tuple[int, ...]  # the inputs that windows are laid over, not their gradient

    @property
    def compared_inputs(self):
        """The inputs whose equal elements share a gradient."""
        return self.of_images if self.abstract_op.mode == "max" else ()


@lowers(pool.Pool)
class Pool(_OfWindows):
    """An abstract `Pool` of images in NHWC."""

    of_images = (0,)


@lowers(pool.PoolGradient)
class PoolGradient(_OfWindows):
    """An abstract `PoolGradient` of images in NHWC."""

    of_images = (0, 1)

    def make_node(self, *inputs):
        return Apply(self, list(inputs), [inputs[0].type()])
