"""The abstract Op of dropout: elements that a random number decides to keep, scaled; 0 in the place of the others.

It is an element-wise expression, which it becomes before all other rewrites, so that these see stock Ops.

Examples
--------
>>> x, u = np.array([1, 2, 3], "float32"), np.array([0.1, 0.5, 0.9], "float32")
>>> Dropout(0.5)(x, u).eval()
array([0., 4., 6.], dtype=float32)
"""

import numpy as np
import theano.tensor as tt
from theano import scalar
from theano.compile import optdb
from theano.gof import Apply, local_optimizer
from theano.gof.opt import copy_stack_trace, in2out
from theano.gradient import DisconnectedType

from fastvae.backends.abstract.op import AbstractOp


class Dropout(AbstractOp):
    """x and uniform random numbers u in [0, 1), of one shape -> x / (1 - p) where u >= p, else 0."""

    __props__ = ("p",)

    def __init__(self, p):
        self.p = p

    def make_node(self, x, u):
        x, u = map(tt.as_tensor_variable, (x, u))
        return Apply(self, [x, u], [x.type()])

    def perform(self, node, inputs, outputs):
        x, u = inputs
        scale, p = self._numbers(x.dtype)
        outputs[0][0] = np.where(u >= p, x * scale, np.zeros((), x.dtype))

    def stock(self, x, u):
        scale, p = self._numbers(x.dtype)
        a, b = (scalar.get_scalar_type(v.dtype)() for v in (x, u))
        # One function of floats: a comparison by itself would be a pass of booleans, which keep their layout.
        return tt.Elemwise(scalar.Composite([a, b], [scalar.switch(b >= p, a * scale, np.zeros((), x.dtype))]))(x, u)

    def _numbers(self, dtype):
        return np.array(1 / (1 - self.p), dtype), np.array(self.p, dtype)

    def grad(self, inputs, gradients):
        return [self(gradients[0], inputs[1]), DisconnectedType()()]

    def connection_pattern(self, node):
        return [[True], [False]]

    def infer_shape(self, node, shapes):
        return [shapes[0]]


@local_optimizer([Dropout])
def local_dropout(node):
    """Dropout -> its element-wise expression."""
    if not isinstance(node.op, Dropout):
        return False
    new = tt.patternbroadcast(node.op.stock(*node.inputs), node.outputs[0].broadcastable)
    copy_stack_trace(node.outputs[0], new)
    return [new]


optdb.register("fastvae_dropout", in2out(local_dropout, name="fastvae_dropout"), 0.03, "fast_run", "fast_compile")
