"""Dense layers and other matrix products through oneDNN, so that one thread pool computes them all."""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply
from theano.tensor import blas

from fastvae.backends import abstract
from fastvae.backends.abstract import reference
from fastvae.backends.abstract.activations import settings
from fastvae.backends.cpu.op import CpuOp, all_float32, lowers


class MatMul(CpuOp):
    """x w [+ bias] [then an activation], each matrix transposed first where asked."""

    __props__ = ("activation", "transposed")

    def __init__(self, activation=None, transposed=(False, False)):
        self.activation, self.transposed = activation, transposed

    def make_node(self, x, w, *bias):
        rows, columns = (v.broadcastable[i ^ t] for i, (v, t) in enumerate(zip((x, w), self.transposed)))
        return Apply(self, [x, w, *bias], [tt.TensorType("float32", [rows, columns])()])

    def settings(self, node):
        return (len(node.inputs) == 3, *self.transposed, *settings(self.activation))

    def perform(self, node, inputs, outputs):
        x, w = (a.T if t else a for a, t in zip(inputs, self.transposed))
        outputs[0][0] = reference.activate(sum(inputs[2:], np.dot(x, w)), self.activation)

    def infer_shape(self, node, shapes):
        (x, w), (tx, tw) = shapes[:2], self.transposed
        return [(x[1] if tx else x[0], w[0] if tw else w[1])]


def _product(x, w, *bias, activation=None):
    """x w, taking matrices from under a transposition."""

    def is_transposed(v):
        return v.owner is not None and isinstance(v.owner.op, tt.DimShuffle) and v.owner.op.new_order == (1, 0)

    transposed = is_transposed(x), is_transposed(w)
    x, w = (v.owner.inputs[0] if t else v for v, t in zip((x, w), transposed))
    return MatMul(activation, transposed)(x, w, *bias)


@lowers(abstract.Dense)
def lower_dense(node):
    return [_product(*node.inputs, activation=node.op.activation)] if all_float32(node.inputs) else None


@lowers(blas.Dot22, stage="product")
def lower_dot(node):
    return [_product(*node.inputs)] if all_float32(node.inputs) else None


@lowers(blas.Dot22Scalar, stage="product")
def lower_scaled_dot(node):
    *matrices, scale = node.inputs
    return [_product(*matrices) * scale] if all_float32(node.inputs) else None


@lowers(blas.Gemm, stage="product")
class Gemm(CpuOp):
    """beta z + alpha x y; inputs z, alpha, x, y, beta as Theano's own Gemm."""

    __props__ = ("inplace",)
    overwrites = {0: 0}

    @classmethod
    def lower(cls, node):
        return [cls()(*node.inputs)] if all_float32(node.inputs) else None

    def make_node(self, *inputs):
        return Apply(self, list(inputs), [inputs[0].type()])

    def settings(self, node):
        return (self.inplace,)

    def perform(self, node, inputs, outputs):
        z, alpha, x, y, beta = inputs
        out = z if self.inplace else z.copy()
        out *= beta
        out += alpha * np.dot(x, y)
        outputs[0][0] = out

    def infer_shape(self, node, shapes):
        return [shapes[0]]
