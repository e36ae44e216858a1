"""Activations stay NHWC from convolution to convolution.

Lowering puts a change of layout before and behind every Op on images. Here pairs of opposite changes cancel. A change
before an element-wise Op, a reduction or a slice, of whatever type, moves behind it, until it meets its opposite; one
behind what has a single array of images moves before it. Those left are threaded copies.
"""

import copy

import theano.tensor as tt
from theano import scalar
from theano.gof import Variable, local_optimizer
from theano.tensor.subtensor import IncSubtensor, Subtensor, get_idx_list

from fastvae.backends.cpu.op import replaced
from fastvae.backends.cpu.ops.layout import Layout, to_nchw, to_nhwc
from fastvae.backends.cpu.ops.sums import ColumnSum

REDUCTIONS = [getattr(tt.elemwise, name) for name in ("CAReduce", "Sum", "Prod", "All", "Any")]


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


def _is(variable, *kinds):
    return variable.owner is not None and isinstance(variable.owner.op, kinds)


def _is_image(variable):
    """Whether a tensor of four axes has to be copied to change its layout; what is broadcast is small, or a view."""
    return _source(variable) is None and not any(variable.broadcastable) and not _is(variable, tt.Alloc)


def _as_nhwc(variable):
    source = _source(variable)
    if source is not None:
        return source
    if all(variable.broadcastable):
        return variable
    return variable.dimshuffle(to_nhwc.order) if any(variable.broadcastable) else to_nhwc(variable)


@local_optimizer([tt.Elemwise])
def local_sink_layout(node):
    """f(to_nchw(x), y...) -> to_nchw(f(x, to_nhwc(y)...))"""
    if len(node.outputs) != 1 or node.outputs[0].ndim != 4 or all(_source(v) is None for v in node.inputs):
        return False
    return replaced(node, [to_nchw(node.op(*map(_as_nhwc, node.inputs)))])


def _alone(node):
    """The node before a change to NHWC if nothing else uses its result, else None."""
    if node.op != to_nhwc or len(node.inputs[0].clients) > 1:
        return None
    return node.inputs[0].owner


@local_optimizer([Layout])
def local_lift_layout(node):
    """to_nhwc(f(y, parameters...)) -> f(to_nhwc(y), parameters...), where y is alone and nothing else uses f"""
    inner = _alone(node)
    if inner is None or not isinstance(inner.op, tt.Elemwise) or len(inner.outputs) != 1:
        return False
    if len({v for v in inner.inputs if _is_image(v)}) > 1:
        return False
    return replaced(node, [inner.op(*map(_as_nhwc, inner.inputs))])


@local_optimizer([Layout])
def local_alloc_layout(node):
    """to_nhwc(alloc(value, shape)) -> alloc(value in NHWC, shape in NHWC)"""
    inner = node.inputs[0].owner
    if node.op != to_nhwc or inner is None or not isinstance(inner.op, tt.Alloc):
        return False
    value, *shape = inner.inputs
    if value.ndim == 4 and _is_image(value):
        return False
    value = value.dimshuffle(*["x"] * (4 - value.ndim), *range(value.ndim))
    return replaced(node, [tt.alloc(_as_nhwc(value), *(shape[i] for i in to_nhwc.order))])


def _in_nhwc(kept):
    """NCHW's axes `kept` in their order in NHWC, and where each of them is among these."""
    order = sorted(to_nchw.order[a] for a in kept)
    return [to_nhwc.order[i] for i in order], [order.index(to_nchw.order[a]) for a in kept]


def _from_kept(value, kept):
    """A result of NHWC images of which NCHW's axes `kept` are left, with these in their order."""
    places = _in_nhwc(kept)[1]
    return value if places == sorted(places) else value.dimshuffle(places)


@local_optimizer(REDUCTIONS)
def local_reduce_layout(node):
    """reduce(to_nchw(x), axes) -> reduce(x, the same axes in NHWC), a ColumnSum for sums of channels"""
    x = _source(node.inputs[0]) if isinstance(node.op, tt.elemwise.CAReduce) else None
    if x is None:
        return False
    axes = range(4) if node.op.axis is None else node.op.axis
    kept = [a for a in range(4) if a not in axes]
    if kept == [1] and isinstance(node.op, tt.elemwise.Sum) and {x.dtype, node.outputs[0].dtype} == {"float32"}:
        return replaced(node, [ColumnSum()(x)])
    op = copy.copy(node.op)
    op.axis = tuple(sorted(to_nchw.order[a] for a in axes)) if kept else None
    return replaced(node, [_from_kept(op(x), kept)])


def _slices_in_nhwc(inputs, op):
    """What an Op takes of each of four axes, in the order of NHWC."""
    taken = get_idx_list(inputs, op.idx_list)
    taken = [*taken, *[slice(None)] * (4 - len(taken))]
    return [taken[i] for i in to_nhwc.order]


def _numbers(slices):
    """The variables among the bounds of slices, as an Op on parts of a tensor takes them."""
    return Subtensor.collapse(slices, lambda entry: isinstance(entry, Variable))


@local_optimizer([Subtensor])
def local_subtensor_layout(node):
    """to_nchw(x)[slices or numbers] -> to_nchw(x[the same in NHWC]), without to_nchw where an axis goes"""
    x = _source(node.inputs[0]) if isinstance(node.op, Subtensor) else None
    if x is None:
        return False
    slices = _slices_in_nhwc(node.inputs, node.op)
    part = Subtensor(slices)(x, *_numbers(slices))
    return replaced(node, [to_nchw(part) if part.ndim == 4 else _from_kept(part, _kept(slices))])


def _kept(slices):
    """The axes of NCHW that slices or numbers in the order of NHWC leave."""
    return sorted(axis for axis, entry in zip(to_nhwc.order, slices) if isinstance(entry, slice))


def _increment(node):
    """An IncSubtensor of images in NHWC; None where what is added is broadcast to less than the images' axes."""
    x, y, *numbers = node.inputs
    if x.ndim != 4:
        return None
    slices = _slices_in_nhwc([x, *numbers], node.op)
    kept = _kept(slices)
    if y.ndim not in (0, len(kept)):
        return None
    if y.ndim == 4:
        y = _as_nhwc(y)
    elif y.ndim:
        y = y.dimshuffle([kept.index(axis) for axis in _in_nhwc(kept)[0]])
    op = IncSubtensor(slices, set_instead_of_inc=node.op.set_instead_of_inc)
    return op(_as_nhwc(x), y, *_numbers(slices))


@local_optimizer([IncSubtensor])
def local_increment_layout(node):
    """inc_subtensor(x[slices], y) -> to_nchw of the same in NHWC, where x or y is to_nchw of something"""
    if not isinstance(node.op, IncSubtensor) or all(_source(v) is None for v in node.inputs[:2]):
        return False
    new = _increment(node)
    return False if new is None else replaced(node, [to_nchw(new)])


@local_optimizer([Layout])
def local_lift_increment(node):
    """to_nhwc(inc_subtensor(alloc(...)[slices], y)) -> inc_subtensor(alloc(...)[slices], to_nhwc(y)): y is smaller"""
    inner = _alone(node)
    if inner is None or not isinstance(inner.op, IncSubtensor) or not _is(inner.inputs[0], tt.Alloc, IncSubtensor):
        return False
    new = _increment(inner)
    return False if new is None else replaced(node, [new])


@local_optimizer([tt.MaxAndArgmax])
def local_maximum(node):
    """The maximum of max_and_argmax alone -> the reduction, which Theano makes of it too, but later"""
    if not isinstance(node.op, tt.MaxAndArgmax) or node.outputs[1].clients:
        return False
    new = tt.elemwise.CAReduce(scalar.maximum, tuple(node.op.axis))(node.inputs[0])
    return {node.outputs[0]: new} if new.type == node.outputs[0].type else False


@local_optimizer([tt.opt.Shape_i])
def local_shape_layout(node):
    """The length of an axis of to_nchw(x) -> that of x's"""
    x = _source(node.inputs[0]) if isinstance(node.op, tt.opt.Shape_i) else None
    return False if x is None else [tt.opt.Shape_i(to_nchw.order[node.op.i])(x)]


@local_optimizer([tt.elemwise.Sum])
def local_column_sum(node):
    """sum(matrix, axis=0) -> ColumnSum"""
    x = node.inputs[0]
    if node.op.axis == (0,) and x.ndim == 2 and {x.dtype, node.outputs[0].dtype} == {"float32"}:
        return replaced(node, [ColumnSum()(x)])
    return False


LAYOUTS = (
    local_cancel_layouts,
    local_sink_layout,
    local_lift_layout,
    local_alloc_layout,
    local_maximum,
    local_reduce_layout,
    local_subtensor_layout,
    local_increment_layout,
    local_lift_increment,
    local_shape_layout,
    local_column_sum,
)
