"""Adam in one threaded pass over all parameters."""

from theano.gof import Apply

from fastvae.backends import abstract
from fastvae.backends.abstract.adam import CompiledAdam
from fastvae.backends.cpu.op import CpuOp, lowers


@lowers(abstract.AdamStep)
class Adam(CompiledAdam, CpuOp):
    """An `abstract.AdamStep` in one threaded pass."""

    @classmethod
    def lower(cls, node):
        if not node.op.is_compilable(*node.inputs):
            return None
        return cls(node.op, len(node.outputs) // 3)(*node.inputs, return_list=True)

    def make_node(self, *inputs):
        return Apply(self, list(inputs), [inputs[i].type() for i in self.overwrites.values()])

    def perform(self, node, inputs, outputs):
        self.abstract_op.perform(node, inputs, outputs)
        if self.inplace:
            for cell, i in zip(outputs, self.overwrites.values()):
                inputs[i][...] = cell[0]
                cell[0] = inputs[i]
