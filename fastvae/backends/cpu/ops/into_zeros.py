"""An array set, or added, at a slice of zeros, in one threaded pass: the gradient of a slice."""

import theano.tensor as tt
from theano.tensor.subtensor import IncSubtensor

from fastvae.backends.abstract.into_zeros import OfSlice, slice_of_zeros
from fastvae.backends.cpu.op import CpuOp, lowers
from fastvae.backends.cpu.ops.fill import Fill


@lowers(IncSubtensor, stage="vectorize")
class IntoZeros(OfSlice, CpuOp):
    """The first input at a slice of zeros, whose shape the others, scalars of int64, are."""

    @classmethod
    def lower(cls, node):
        found = slice_of_zeros(node, Fill)
        if found is None:
            return None
        x, sizes, starts, steps = found
        op = cls(starts, steps, node.outputs[0].broadcastable)
        return [op(x, *(tt.cast(size, "int64") for size in sizes))]
