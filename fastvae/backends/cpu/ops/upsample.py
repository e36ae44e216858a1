"""Nearest-neighbour upsampling, and its gradient, in one threaded pass each, on NHWC."""

import theano.tensor as tt
from theano.compile.ops import Shape

from fastvae.backends.abstract import upsample
from fastvae.backends.cpu.op import all_float32, lowers, of_pattern
from fastvae.backends.cpu.ops.images import OfImages


@lowers(upsample.Upsample)
class Upsample(OfImages):
    """An abstract `Upsample` of images in NHWC."""


@lowers(upsample.BlockSum)
class BlockSum(OfImages):
    """An abstract `BlockSum` of images in NHWC."""


# Repetition along axes of its own.
lowers(tt.Reshape, stage="recognise")(of_pattern(upsample.of_blocks))


@lowers(tt.elemwise.Sum, stage="recognise")
def gradient_of_repeated(node):
    """The gradient that Theano makes of it: sums along these axes -> `BlockSum`."""
    inner = node.inputs[0].owner
    if node.outputs[0].ndim != 4 or not all_float32(node.inputs) or not inner or not isinstance(inner.op, tt.Reshape):
        return None
    g, shape = inner.inputs
    blocks = shape.owner.inputs[0] if shape.owner is not None and isinstance(shape.owner.op, Shape) else None
    found = upsample.blocks_of(blocks) if blocks is not None and g.ndim == 4 else None
    if found is None or node.op.axis != found[2]:
        return None
    return [upsample.BlockSum(found[1])(g)]
