"""Adam's step of a large dense layer's weights, which makes their gradient itself."""

from theano.gof import Apply, local_optimizer
from theano.gof.opt import copy_stack_trace

from fastvae.backends.cpu.op import CpuOp
from fastvae.backends.cpu.ops.adam import Adam
from fastvae.backends.cpu.ops.matmul import MatMul


class AdamOfProduct(CpuOp):
    """One Adam update of a matrix: rate (), p, x, y, m, v, the gradient being x y -> the new p, m and v.

    `transposed` says whether x and y are transposed first, as in `MatMul`.
    """

    __props__ = ("abstract_op", "transposed", "inplace")
    overwrites = {0: 1, 1: 4, 2: 5}

    def __init__(self, abstract_op, transposed=(False, False)):
        self.abstract_op, self.transposed = abstract_op, transposed

    def make_node(self, *inputs):
        return Apply(self, list(inputs), [inputs[i].type() for i in self.overwrites.values()])

    def settings(self, node):
        step = self.abstract_op
        return (self.inplace, step.beta1, step.beta2, step.epsilon, *self.transposed)

    def perform(self, node, inputs, outputs):
        rate, p, x, y, m, v = inputs
        x, y = (a.T if t else a for a, t in zip((x, y), self.transposed))
        self.abstract_op.perform(node, [rate, p, x @ y, m, v], outputs)
        if self.inplace:
            for cell, i in zip(outputs, self.overwrites.values()):
                inputs[i][...] = cell[0]
                cell[0] = inputs[i]

    def infer_shape(self, node, shapes):
        return [shapes[i] for i in self.overwrites.values()]


@local_optimizer([Adam])
def local_adam_of_product(node):
    """Adam's step of one large parameter, and a gradient that is a product and that nobody else reads -> one Op"""
    if not isinstance(node.op, Adam) or node.op.inplace or node.op.n_parameters != 1:
        return False
    rate, p, gradient, m, v = node.inputs
    product = gradient.owner
    if product is None or not isinstance(product.op, MatMul) or len(node.fgraph.clients(gradient)) != 1:
        return False
    if product.op.activation is not None or len(product.inputs) != 2 or gradient.type != p.type:
        return False
    new = AdamOfProduct(node.op.abstract_op, product.op.transposed)(rate, p, *product.inputs, m, v, return_list=True)
    copy_stack_trace(node.outputs, new)
    return new
