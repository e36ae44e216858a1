"""What a decoder computes on vectors stays on vectors, where images are only another view of them.

`abstract.Unflatten` shows a dense layer's output as images. The likelihood compares these with the minibatch, and its
gradient turns the result back into vectors. Here element-wise Ops move before the Unflatten, which disappears when it
meets its opposite or a sum. Theano then fuses the element-wise Ops with their neighbours into one pass.
"""

import theano.tensor as tt
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace

from fastvae.backends.cpu.ops.reshape_like import ReshapeLike
from fastvae.backends.cpu.ops.unflatten import Unflatten


def _vectors(variable):
    """The matrix whose rows the variable shows as images, or None."""
    node = variable.owner
    return node.inputs[0] if node and isinstance(node.op, Unflatten) else None


@local_optimizer([tt.Elemwise])
def local_sink_unflatten(node):
    """f(unflatten(x), images, scalars...) -> unflatten(f(x, images in the shape of x, scalars...))"""
    out = node.outputs[0]
    sources = [v for v in node.inputs if _vectors(v) is not None]
    if len(node.outputs) > 1 or not sources or any(out.broadcastable) or out.dtype != "float32":
        return False
    if any(not all(v.broadcastable) and (v.dtype != "float32" or any(v.broadcastable)) for v in node.inputs):
        return False
    like = _vectors(sources[0])

    def as_vectors(v):
        if all(v.broadcastable):
            return v.dimshuffle("x", "x")
        return ReshapeLike()(v, like) if _vectors(v) is None else _vectors(v)

    inner = node.op(*map(as_vectors, node.inputs))
    new = sources[0].owner.op(inner)
    copy_stack_trace(out, [inner, new])
    return [new]


@local_optimizer([ReshapeLike])
def local_cancel_unflatten(node):
    """reshape_like(unflatten(x), y) -> x, where x and y are known to have one shape"""
    values, like = node.inputs
    x = _vectors(values)
    if x is None or x.type != node.outputs[0].type or not node.fgraph.shape_feature.same_shape(x, like):
        return False
    return [x]


@local_optimizer([tt.elemwise.Sum])
def local_sum_unflatten(node):
    """sum(unflatten(x)) over all axes -> sum(x)"""
    x = _vectors(node.inputs[0])
    if x is None or node.op.axis not in (None, (0, 1, 2, 3)):
        return False
    new = tt.elemwise.Sum(None, node.op.dtype, node.op.acc_dtype)(x)
    copy_stack_trace(node.outputs[0], new)
    return [new]
