"""Adam on the GPU."""

from theano.gof import Apply
from theano.gpuarray.basic_ops import as_gpuarray_variable, infer_context_name

from fastvae.backends import abstract
from fastvae.backends.abstract.adam import CompiledAdam
from fastvae.backends.gpu.op import GpuOp, lowers


@lowers(abstract.AdamStep)
class Adam(CompiledAdam, GpuOp):
    """An `abstract.AdamStep` on the GPU, one launch for up to 32 parameters, 12 with OpenCL."""

    @classmethod
    def defer(cls, node):
        return super().defer(node) if node.op.is_compilable(*node.inputs) else None

    @classmethod
    def on_gpu(cls, deferred, context_name, inputs, outputs):
        op = cls(deferred.abstract_op, len(outputs) // 3)
        return op(*(as_gpuarray_variable(v, context_name) for v in inputs), return_list=True)

    def make_node(self, *inputs):
        context = infer_context_name(*inputs)
        inputs = [as_gpuarray_variable(v, context) for v in inputs]
        return Apply(self, inputs, [inputs[source].type() for source in self.overwrites.values()])

    def settings(self, node):
        return (*super().settings(node), node.inputs[0].type.context.kind == b"cuda")
