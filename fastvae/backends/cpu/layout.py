"""Activations stay NHWC from convolution to convolution.

Lowering puts a change of layout before and behind every convolution. Here pairs of opposite changes cancel, and a
change before an element-wise Op or a sum moves behind it, until it meets its opposite. Those left are threaded copies.
"""

import theano.tensor as tt
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace

from fastvae.backends.cpu.ops.layout import Layout, to_nchw, to_nhwc
from fastvae.backends.cpu.ops.sums import ColumnSum


def _source(variable):
    """The NHWC tensor that the variable shows as NCHW, or None."""
    node = variable.owner
    return node.inputs[0] if node and node.op == to_nchw else None


def _order(node):
    """The order of axes that a node makes, if that is all it does, else None."""
    return getattr(node.op, {Layout: "order", tt.DimShuffle: "new_order"}.get(type(node.op), ""), None)


@local_optimizer([Layout, tt.DimShuffle])
def local_cancel_layouts(node):
    """to_nhwc(to_nchw(x)) -> x, and the other way round; as well where one of them is a DimShuffle"""
    inner = node.inputs[0].owner
    if inner is None or not isinstance(node.op, Layout) and not isinstance(inner.op, Layout):
        return False
    outer_order, inner_order = _order(node), _order(inner)
    if inner_order and "x" not in outer_order and [inner_order[i] for i in outer_order] == [0, 1, 2, 3]:
        return [inner.inputs[0]]
    return False


def _as_nhwc(variable):
    source = _source(variable)
    if source is not None:
        return source
    if any(variable.broadcastable):
        return variable.dimshuffle(0, 2, 3, 1)
    return to_nhwc(variable)


@local_optimizer([tt.Elemwise])
def local_sink_layout(node):
    """f(to_nchw(x), y...) -> to_nchw(f(x, to_nhwc(y)...))"""
    if len(node.outputs) != 1 or node.outputs[0].ndim != 4 or node.outputs[0].dtype != "float32":
        return False
    if all(_source(v) is None for v in node.inputs) or any(
        v.dtype != "float32" and not all(v.broadcastable) for v in node.inputs
    ):
        return False
    inner = node.op(*(v if all(v.broadcastable) else _as_nhwc(v) for v in node.inputs))
    new = to_nchw(inner)
    if new.type != node.outputs[0].type:
        return False
    copy_stack_trace(node.outputs[0], [inner, new])
    return [new]


@local_optimizer([Layout])
def local_lift_layout(node):
    """to_nhwc(f(y, constants...)) -> f(to_nhwc(y), constants...), where nothing else uses f's result and y is alone"""
    inner = node.inputs[0].owner
    if node.op != to_nhwc or inner is None or not isinstance(inner.op, tt.Elemwise) or len(inner.outputs) != 1:
        return False
    operands = {v for v in inner.inputs if not all(v.broadcastable)}
    if (
        len(node.inputs[0].clients) > 1
        or len(operands) > 1
        or any(v.dtype != "float32" or any(v.broadcastable) for v in operands)
    ):
        return False
    new = inner.op(*(v if all(v.broadcastable) else to_nhwc(v) for v in inner.inputs))
    if new.type != node.outputs[0].type:
        return False
    copy_stack_trace(node.outputs[0], new)
    return [new]


@local_optimizer([tt.elemwise.Sum])
def local_sum_layout(node):
    """sum(to_nchw(x), axes) -> sum(x, the same axes in NHWC), a ColumnSum where only the channels are left"""
    x = _source(node.inputs[0])
    if x is None:
        return False
    axes = range(4) if node.op.axis is None else node.op.axis
    order = to_nchw.order
    kept = [order[a] for a in range(4) if a not in axes]
    if kept == [3]:
        new = ColumnSum()(x)
    elif kept == sorted(kept):
        inner = tuple(sorted(order[a] for a in axes)) if kept else None
        new = tt.elemwise.Sum(inner, node.op.dtype, node.op.acc_dtype)(x)
    else:
        return False
    if new.type != node.outputs[0].type:
        return False
    copy_stack_trace(node.outputs[0], new)
    return [new]


@local_optimizer([tt.elemwise.Sum])
def local_column_sum(node):
    """sum(matrix, axis=0) -> ColumnSum"""
    x = node.inputs[0]
    if node.op.axis == (0,) and x.ndim == 2 and x.dtype == "float32":
        new = ColumnSum()(x)
        if new.type == node.outputs[0].type:
            copy_stack_trace(node.outputs[0], new)
            return [new]
    return False
