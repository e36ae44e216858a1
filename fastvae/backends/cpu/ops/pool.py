"""Pooling and its gradient, in one threaded pass each, on NHWC; Theano's own `pool_2d` becomes that too."""

import theano
from theano.gof import Apply
from theano.tensor.signal import pool as stock

from fastvae.backends.abstract import pool
from fastvae.backends.cpu.op import all_float32, lowers
from fastvae.backends.cpu.ops.images import OfImages


# At first, and again for windows that are constants only once shapes have been simplified.
@lowers(stock.Pool, stock.MaxPoolGrad, stock.AveragePoolGrad, stage="lift")
@lowers(stock.Pool, stock.MaxPoolGrad, stock.AveragePoolGrad, stage="lower")
def as_abstract(node):
    """Theano's pooling of images as the abstract Op, where the sizes of its windows are known."""
    *images, window, stride, padding = node.inputs
    sizes = [v.data.tolist() for v in (window, stride, padding) if isinstance(v, theano.Constant)]
    if node.op.ndim != 2 or images[0].ndim != 4 or not all_float32(images) or [len(s) for s in sizes] != [2, 2, 2]:
        return None
    if min(*sizes[0], *sizes[1]) < 1 or min(sizes[2]) < 0 or (any(sizes[2]) and not node.op.ignore_border):
        return None
    kind = pool.Pool if isinstance(node.op, stock.Pool) else pool.PoolGradient
    return [kind(*sizes, node.op.mode, bool(node.op.ignore_border))(*images)]


class _OfWindows(OfImages):
    of_images: tuple[int, ...]  # the inputs that windows are laid over, not their gradient

    def do_constant_folding(self, node):
        """Not while images without a window are an error: it is one of the run, not of the compilation."""
        return not self.abstract_op.fits

    @property
    def compared_inputs(self):
        """The inputs whose equal elements share a gradient."""
        return self.of_images if self.abstract_op.mode == "max" else ()

    def settings(self, node):
        m = self.abstract_op
        mode = "average_exc_pad" if m.mode == "average_inc_pad" and not m.ignore_border else m.mode
        return (pool.MODES.index(mode), m.ignore_border, *m.window, *m.stride, *m.padding, m.fits)


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
