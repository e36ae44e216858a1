"""Stock convolutions become abstract ones, so that a backend has one kind to lower; sizes come from variables.

This runs before Theano simplifies shapes. At that point the gradient with respect to the image still names the variable
whose shape it takes (`x.shape[-2:]`). Taking x itself instead spares the graph all arithmetic on sizes, and a cold
start the C modules that would compute them.
"""

import theano.tensor as tt
from theano.compile.ops import Shape
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace
from theano.tensor.nnet.abstract_conv import AbstractConv2d, AbstractConv2d_gradInputs, AbstractConv2d_gradWeights
from theano.tensor.subtensor import Subtensor, get_idx_list

from fastvae.backends import abstract


def _geometry(op):
    padding = {"valid": (0, 0)}.get(op.border_mode, op.border_mode)
    if isinstance(padding, tuple):
        padding = tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    return dict(
        stride=op.subsample, padding=padding, dilation=op.filter_dilation, groups=op.num_groups, flip=op.filter_flip
    )


def _like(size):
    """The tensor4 that `size` is the spatial shape of, if that can be seen, else `size`."""
    subtensor = size.owner
    if subtensor and isinstance(subtensor.op, Subtensor) and subtensor.inputs[0].owner:
        shape = subtensor.inputs[0].owner
        try:
            index = [
                tt.get_scalar_constant_value(i)
                for i in (get_idx_list(subtensor.inputs, subtensor.op.idx_list)[0].start,)
            ]
        except (AttributeError, TypeError, tt.NotScalarConstantError):
            return size
        if (
            isinstance(shape.op, Shape)
            and shape.inputs[0].ndim == 4
            and index in ([2], [-2])
            and _to_the_end(subtensor.op)
        ):
            return shape.inputs[0]
    return tt.cast(size, "int64")


def _to_the_end(op):
    return (
        len(op.idx_list) == 1
        and isinstance(op.idx_list[0], slice)
        and op.idx_list[0].stop is None
        and op.idx_list[0].step is None
    )


@local_optimizer([AbstractConv2d, AbstractConv2d_gradInputs, AbstractConv2d_gradWeights])
def local_lift_convolution(node):
    """A float32, shared-weights AbstractConv2d, _gradInputs or _gradWeights -> its abstract Op."""
    op = node.op
    if not isinstance(op, (AbstractConv2d, AbstractConv2d_gradInputs, AbstractConv2d_gradWeights)):
        return False
    if op.unshared or any(v.dtype != "float32" or v.ndim != 4 for v in node.inputs[:2]):
        return False
    geometry = _geometry(op)
    if isinstance(op, AbstractConv2d):
        new = abstract.Conv(**geometry)(*node.inputs)
    elif isinstance(op, AbstractConv2d_gradInputs):
        weights, top, size = node.inputs
        new = abstract.ConvTransposed(**geometry)(top, weights, _like(size))
    else:
        image, top, size = node.inputs
        new = abstract.ConvWeightsGradient(**geometry)(image, top, _like(size))
    new = tt.patternbroadcast(new, node.outputs[0].broadcastable)
    copy_stack_trace(node.outputs[0], new)
    return [new]
