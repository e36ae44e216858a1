"""Calls of libraries that cost less inside a region: convolutions of one channel, and products with few weights.

By the shapes that shared weights have now; with others the results are right too.
"""

from __future__ import annotations

import theano.tensor as tt
from theano import scalar
from theano.compile.ops import Shape_i
from theano.compile.sharedvalue import SharedVariable
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace, in2out
from theano.gpuarray.basic_ops import GpuReshape
from theano.gpuarray.blas import GpuDot22, GpuGemm
from theano.gpuarray.elemwise import GpuCAReduceCuda, GpuDimShuffle, GpuElemwise
from theano.gpuarray.type import GpuArrayType

from fastvae.backends.abstract import Conv, ConvWeightsGradient
from fastvae.backends.gpu.fused.nodes import is_fused, is_view, source
from fastvae.backends.gpu.op import typed
from fastvae.backends.gpu.ops.adam import Adam
from fastvae.backends.gpu.ops.convolution import Convolution
from fastvae.backends.gpu.ops.one_channel import ImageGradients, OneChannel

FEW = 1 << 10  # elements of weights with which a product is too small for a launch of its own
TAPS = 16  # pixels of a kernel: with more of them the products, not the images, take the time


@local_optimizer([Convolution])
def local_one_channel(node):
    """a convolution of one channel -> one that a region computes with what follows; its gradient -> sums of products"""
    if not isinstance(node.op, Convolution) or not _is_on_cuda(node) or not _has_one_channel(node):
        return False
    if isinstance(node.op.abstract_op, ConvWeightsGradient):
        image, top, weights = node.inputs
        each = ImageGradients(node.op.abstract_op.flip)(image, top, weights)
        new = GpuReshape(4)(_sum(each, 0), tt.as_tensor_variable([Shape_i(axis)(weights) for axis in range(4)]))
    elif _is_read_by_a_region(node.fgraph, node.outputs[0]):
        new = OneChannel(node.op.abstract_op)(*node.inputs)
    else:
        return False
    copy_stack_trace(node.outputs[0], new)
    return typed([new], node.outputs)


def _is_on_cuda(node):
    return node.outputs[0].type.context.kind == b"cuda"  # regions are for CUDA alone


def _is_read_by_a_region(fgraph, variable):
    clients = [client for client, _ in fgraph.clients(variable) if client != "output"]
    return any(is_fused(c) or (is_view(c) and _is_read_by_a_region(fgraph, c.outputs[0])) for c in clients)


def _has_one_channel(node):
    """Whether a node is a plain convolution of images of one channel, or its gradient by the weights."""
    op, weights = node.op, node.inputs[-1]
    if type(op) is not Convolution or op.has_bias or op.sum_of:
        return False
    if not isinstance(op.abstract_op, (Conv, ConvWeightsGradient)) or not _is_plain(**op.abstract_op.geometry):
        return False
    shape = _shape(weights)
    return shape is not None and shape[1] == 1 and shape[2] * shape[3] <= TAPS


def _is_plain(stride, padding, dilation, groups, flip):
    return stride == dilation == (1, 1) and padding == ((0, 0), (0, 0)) and groups == 1


def _shape(variable):
    """The shape of a parameter on the device; None of anything else."""
    if isinstance(variable, SharedVariable) and isinstance(variable.type, GpuArrayType):
        return variable.get_value(borrow=True, return_internal_type=True).shape
    return None


@local_optimizer([GpuDot22, GpuGemm])
def local_small_product(node):
    """a product with a dense layer's few weights, or the gradient of these -> sums of products"""
    is_added = isinstance(node.op, GpuGemm)
    if not (is_added or isinstance(node.op, GpuDot22)) or not _is_on_cuda(node) or node.outputs[0].dtype != "float32":
        return False
    if is_added and not all(isinstance(node.inputs[i], tt.Constant) and node.inputs[i].data == 1 for i in (1, 4)):
        return False
    a, b = node.inputs[2:4] if is_added else node.inputs
    if not any(map(_is_small, (source(a), source(b), *_updated_by(node.fgraph, node.outputs[0])))):
        return False
    down, along = GpuDimShuffle(a.broadcastable, (0, 1, "x"))(a), GpuDimShuffle(b.broadcastable, ("x", 0, 1))(b)
    products = GpuElemwise(scalar.mul)(down, along)
    new = _sum(products, 1)
    if not is_fused(new.owner):
        return False
    if is_added:
        new = GpuElemwise(scalar.add)(node.inputs[0], new)
    copy_stack_trace(node.outputs[0], [products, new])
    return typed([new], node.outputs)


def _is_small(variable):
    shape = _shape(variable)
    return shape is not None and len(shape) == 2 and shape[0] * shape[1] <= FEW


def _updated_by(fgraph, gradient):
    """The parameters that Adam updates by a gradient: its inputs are a rate, then a parameter, gradient, m, v each."""
    for client, place in fgraph.clients(gradient):
        if client != "output" and isinstance(client.op, Adam) and place % 4 == 2:
            yield client.inputs[place - 1]


def _sum(variable, axis):
    mask = tuple(int(i == axis) for i in range(variable.ndim))
    return GpuCAReduceCuda(scalar.add, (axis,), mask, dtype="float32", acc_dtype="float32")(variable)


small_calls = in2out(local_one_channel, local_small_product, name="fastvae_gpu_small_calls")
