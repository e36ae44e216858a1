"""A bias and an activation that follow a convolution or a matrix product become part of its Op.

They do so only if nothing else uses the value in between. The gradient of an activation that is spelled in stock Ops
uses it; so where somebody takes the gradient of such an expression himself the activation stays as it is.
`fastvae.backends.rewrites.recognise` comes before the gradient, which then comes from the output if it can.
"""

import numpy as np
import theano.tensor as tt
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace
from theano.scalar import basic as scalar
from theano.tensor.basic import NotScalarConstantError, get_scalar_constant_value
from theano.tensor.nnet.sigm import ScalarSigmoid, ScalarSoftplus

from fastvae.backends import abstract
from fastvae.backends.abstract.activations import Activation, ActivationGradient, SignedRelu
from fastvae.backends.abstract.op import Product
from fastvae.backends.abstract.relu import Relu


def _is(variable, scalar_type):
    """Whether an element-wise Op of this kind computes the variable."""
    owner = variable.owner
    return owner is not None and isinstance(owner.op, tt.Elemwise) and isinstance(owner.op.scalar_op, scalar_type)


def _product(variable):
    """The node of the convolution or product without activation that computes the variable, or None."""
    node = variable.owner
    if node is None or variable.dtype != "float32":
        return None
    if isinstance(node.op, Product):
        return node if node.op.activation is None else None
    is_matrix_product = isinstance(node.op, tt.Dot) and all(v.ndim == 2 and v.dtype == "float32" for v in node.inputs)
    return node if is_matrix_product else None


def _abstract_op(node):
    return abstract.Dense() if isinstance(node.op, tt.Dot) else node.op


def _biased(node, bias):
    """The node's Op with this bias, or None if it has one already."""
    op = _abstract_op(node)
    inputs = op.with_bias(node.inputs, bias)
    return None if inputs is None else op(*inputs)


def _bias_vector(variable, ndim):
    """The vector that lies along the channels of a tensor of so many axes, or None."""
    node = variable.owner
    along_channels = ("x", 0, "x", "x") if ndim == 4 else ("x", 0)
    if node and isinstance(node.op, tt.DimShuffle) and node.op.new_order == along_channels:
        vector = node.inputs[0]
        if vector.dtype == "float32" and not vector.broadcastable[0]:
            return vector
    return None


def _only_for(variable, nodes):
    """Whether these nodes are the only ones that use the variable."""
    return all(client in nodes for client, _ in variable.clients)


@local_optimizer([tt.Elemwise])
def local_fuse_bias(node):
    """add(product, bias along the channels, rest...) -> add(product with bias, rest...)"""
    if not _is(node.outputs[0], scalar.Add) or node.outputs[0].ndim not in (2, 4):
        return False
    for product in node.inputs:
        if _product(product) is None or not _only_for(product, [node]) or product.broadcastable[1]:
            continue
        for term in node.inputs:
            bias = _bias_vector(term, product.ndim)
            new = None if bias is None else _biased(product.owner, bias)
            if new is None:
                continue
            new = tt.patternbroadcast(new, product.broadcastable)
            rest = [v for v in node.inputs if v is not product and v is not term]
            result = tt.add(new, *rest) if rest else new
            if result.type != node.outputs[0].type:
                continue
            copy_stack_trace(node.outputs[0], [new, result])
            return [result]
    return False


def _is_constant(variable, value):
    try:
        return get_scalar_constant_value(variable) == value
    except NotScalarConstantError:
        return False


def _relu_argument(node):
    """(x, the nodes up to the result, the variable x > 0 or None) if the node is max(x, 0) in a usual spelling."""
    out = node.outputs[0]
    if _is(out, Relu):
        return node.inputs[0], [node], None
    if _is(out, scalar.Maximum):
        x = [v for v in node.inputs if not _is_constant(v, 0)]
        return (x[0], [node], None) if len(x) == 1 else None
    if _is(out, scalar.Switch):
        condition, x, other = node.inputs
        if _is_constant(other, 0) and _is(condition, scalar.GT):
            test = condition.owner
            if test.inputs[0] is x and _is_constant(test.inputs[1], 0):
                return x, [node, test], condition
        return None
    if _is(out, scalar.Mul) and len(node.inputs) == 2:  # tt.nnet.relu: 0.5 * (x + abs(x))
        total = [v for v in node.inputs if not _is_constant(v, 0.5)]
        if (
            len(total) == 1
            and _is(total[0], scalar.Add)
            and len(total[0].owner.inputs) == 2
            and _only_for(total[0], [node])
        ):
            for x, size in (total[0].owner.inputs, total[0].owner.inputs[::-1]):
                if _is(size, scalar.Abs) and size.owner.inputs[0] is x and _only_for(size, [total[0].owner]):
                    return x, [total[0].owner, size.owner], None
    return None


def _activated(product, activation):
    """The product's node with an activation."""
    return _abstract_op(product).with_activation(activation)(*product.inputs)


@local_optimizer([tt.Elemwise])
def local_fuse_relu(node):
    """relu(product) -> product with ReLU, where nothing else uses the product.

    The condition x > 0 of a switch may have other users (its gradient): they see y > 0, which is the same.
    """
    found = _relu_argument(node)
    if not found or _product(found[0]) is None or not _only_for(*found[:2]):
        return False
    x, _, positive = found
    new = tt.patternbroadcast(_activated(x.owner, "relu"), node.outputs[0].broadcastable)
    if new.type != node.outputs[0].type:
        return False
    copy_stack_trace(node.outputs[0], new)
    if positive is None:
        return [new]
    return {node.outputs[0]: new, positive: tt.gt(new, np.float32(0))}


def _fuse(node, activation):
    """activation(product), or activation(reshaped product) -> product with it, where nothing else uses the product."""
    (x,) = node.inputs
    reshape = x.owner if x.owner and isinstance(x.owner.op, tt.Reshape) and _only_for(x, [node]) else None
    product = x if reshape is None else reshape.inputs[0]
    if _product(product) is None or not _only_for(product, [reshape or node]):
        return False
    new = tt.patternbroadcast(_activated(product.owner, activation), product.broadcastable)
    result = new if reshape is None else reshape.op(new, *reshape.inputs[1:])
    if result.type != node.outputs[0].type:
        return False
    copy_stack_trace(node.outputs[0], [new, result])
    return [result]


@local_optimizer([tt.Elemwise])
def local_fuse_activation(node):
    """An activation with parameters behind a product -> part of it."""
    y = node.outputs[0]
    if not _is(y, Activation):
        return False
    is_plain = _is(y, SignedRelu) and not any(_is_gradient(client) for client, _ in y.clients)
    return _fuse(node, "relu" if is_plain else node.op.scalar_op)


def _is_gradient(client):
    return client != "output" and _is(client.outputs[0], ActivationGradient)


@local_optimizer([tt.Elemwise])
def local_fuse_stock_activation(node):
    """A sigmoid, tanh or softplus behind a product -> part of it."""
    if not _is(node.outputs[0], (ScalarSigmoid, scalar.Tanh, ScalarSoftplus)):
        return False
    return _fuse(node, "sigmoid" if _is(node.outputs[0], ScalarSigmoid) else node.op.scalar_op)


def _sums_over_images(variable):
    """The sums of an NCHW tensor over all but its channels."""
    for node, _ in variable.clients:
        if node != "output" and isinstance(node.op, tt.elemwise.Sum) and node.op.axis == (0, 2, 3):
            yield node.outputs[0]


@local_optimizer([abstract.ConvWeightsGradient])
def local_fuse_bias_gradient(node):
    """A weights' gradient and the sum of one of its operands over batch and pixels -> one Op with two results."""
    if node.op.sum_of is not None:
        return False
    image, top, _ = node.inputs
    for operand, name in ((top, "top"), (image, "image")):
        for total in _sums_over_images(operand):
            gradient, sums = abstract.ConvWeightsGradient(name, **node.op.geometry)(*node.inputs)
            if total.type == sums.type and gradient.type == node.outputs[0].type:
                copy_stack_trace([node.outputs[0], total], [gradient, sums])
                return {node.outputs[0]: gradient, total: sums}
    return False
