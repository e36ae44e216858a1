"""Images among zeros, and their pixels alone again, in one threaded pass each, on NHWC."""

from theano.tensor.subtensor import IncSubtensor

from fastvae.backends.abstract import pad
from fastvae.backends.cpu.op import lowers, of_pattern
from fastvae.backends.cpu.ops.images import OfImages


@lowers(pad.Pad)
class Pad(OfImages):
    """An abstract `Pad` of images in NHWC."""


@lowers(pad.Unpad)
class Unpad(OfImages):
    """An abstract `Unpad` of images in NHWC."""


# `set_subtensor` into zeros.
lowers(IncSubtensor, stage="recognise")(of_pattern(pad.of_set_subtensor))
