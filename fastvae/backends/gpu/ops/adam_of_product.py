"""Adam for a dense layer's weights on the GPU: their gradient, a product, is used where it is made."""

from __future__ import annotations

from theano.compile.sharedvalue import SharedVariable
from theano.gof import Apply, local_optimizer
from theano.gof.opt import copy_stack_trace
from theano.gpuarray.basic_ops import as_gpuarray_variable, infer_context_name
from theano.gpuarray.blas import GpuDot22

from fastvae.backends.gpu.op import GpuOp
from fastvae.backends.gpu.ops.adam import Adam

LARGE = 1 << 18  # elements of a parameter; a smaller one shares Adam's launch with others


class AdamOfProduct(GpuOp):
    """One Adam update of a matrix: rate (), p, a, b, m, v, the gradient being a b -> the new p, m and v.

    One launch where the sums of the product are short, as those over a batch are.
    """

    __props__ = ("abstract_op", "inplace")
    overwrites = {0: 1, 1: 4, 2: 5}

    def __init__(self, abstract_op):
        self.abstract_op = abstract_op

    def make_node(self, *inputs):
        context = infer_context_name(*inputs)
        inputs = [as_gpuarray_variable(v, context) for v in inputs]
        return Apply(self, inputs, [inputs[source].type() for source in self.overwrites.values()])

    def settings(self, node):
        return (self.inplace, self.abstract_op.beta1, self.abstract_op.beta2, self.abstract_op.epsilon, False)

    def infer_shape(self, node, shapes):
        return [shapes[source] for source in self.overwrites.values()]


def _is_product(parameter, gradient, fgraph):
    """Whether the gradient of a large parameter is a product that nobody else needs."""
    product = gradient.owner
    if product is None or not isinstance(product.op, GpuDot22) or len(fgraph.clients(gradient)) != 1:
        return False
    if not isinstance(parameter, SharedVariable) or gradient.dtype != "float32" or gradient.type != parameter.type:
        return False
    # A hint: a parameter that changes its size is computed too.
    return parameter.get_value(borrow=True, return_internal_type=True).size >= LARGE


@local_optimizer([Adam])
def local_adam_of_product(node):
    """Adam's step of a large parameter whose gradient is a product -> one Op; the others stay together"""
    if not isinstance(node.op, Adam) or node.op.inplace:
        return False
    rate, *rest = node.inputs
    groups = [rest[i : i + 4] for i in range(0, len(rest), 4)]
    found = [_is_product(p, g, node.fgraph) for p, g, _, _ in groups]
    if not any(found):
        return False
    others = [group for group, is_product in zip(groups, found) if not is_product]
    left, new = [], []
    if others:
        left = Adam(node.op.abstract_op, len(others))(rate, *(v for g in others for v in g), return_list=True)
    for (p, g, m, v), is_product in zip(groups, found):
        if is_product:
            new += AdamOfProduct(node.op.abstract_op)(rate, p, *g.owner.inputs, m, v, return_list=True)
        else:
            new, left = new + left[:3], left[3:]
    copy_stack_trace(node.outputs, new)
    return new
