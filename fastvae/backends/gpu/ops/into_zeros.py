"""An array set, or added, at a slice of zeros on the GPU, in one launch: the gradient of a slice."""

import theano.tensor as tt
from theano.gof import Apply
from theano.gpuarray.basic_ops import as_gpuarray_variable, infer_context_name
from theano.gpuarray.type import GpuArrayType
from theano.tensor.subtensor import IncSubtensor

from fastvae.backends.abstract.into_zeros import OfSlice, slice_of_zeros
from fastvae.backends.gpu.op import Deferred, OnDevice, lowers


class Placed(OfSlice):
    """Until the graph is on the GPU."""


@lowers(IncSubtensor, Placed)
class IntoZeros(OnDevice):
    """x at a slice of zeros, on the GPU; the sizes of the result are the host's."""

    @classmethod
    def defer(cls, node):
        found = slice_of_zeros(node)
        if found is None:
            return None
        x, sizes, starts, steps = found
        op = Placed(starts, steps, node.outputs[0].broadcastable)
        return Deferred(op)(x, *(tt.cast(size, "int64") for size in sizes), return_list=True)

    @classmethod
    def on_gpu(cls, deferred, context_name, inputs, outputs):
        x, *sizes = inputs
        return cls(deferred.abstract_op)(as_gpuarray_variable(x, context_name), *sizes, return_list=True)

    def make_node(self, x, *sizes):
        context, pattern = infer_context_name(x), self.abstract_op.broadcastable
        sizes = [v.transfer("cpu") for v in sizes]
        return Apply(self, [as_gpuarray_variable(x, context), *sizes], [GpuArrayType("float32", pattern, context)()])
