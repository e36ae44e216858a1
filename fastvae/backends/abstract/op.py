"""Abstract Ops: each says in one expression of stock Ops what it means.

What no backend has taken by then becomes that expression, so that a model runs on every device.

Examples
--------
>>> import numpy as np, theano.tensor as tt
>>> from fastvae.backends.abstract.op import relu_gradient
>>> relu_gradient(tt.constant(np.float32([0, 2])), tt.constant(np.float32([5, 5]))).eval()
array([0., 5.], dtype=float32)
"""

import numpy as np
import theano.tensor as tt
from theano.compile import optdb
from theano.gof import Op, local_optimizer
from theano.gof.opt import copy_stack_trace, in2out

from fastvae.backends.abstract.relu import elementwise_relu, relu_gradient

ACTIVATIONS = (None, "relu", "sigmoid")


def activate(y, activation):
    """The activation of y, one of ACTIVATIONS."""
    return {None: lambda y: y, "relu": elementwise_relu, "sigmoid": tt.nnet.sigmoid}[activation](y)


class AbstractOp(Op):
    """An Op that `stock(*inputs)` defines in stock Ops: one expression, or a list of them."""

    def __repr__(self):
        return str(self)

    def grad_of_activation(self, inputs, g):
        if self.activation is None:
            return g
        y = self(*inputs)
        return relu_gradient(y, g) if self.activation == "relu" else g * y * (np.array(1, y.dtype) - y)


@local_optimizer(None)
def local_stock(node):
    """An abstract Op that no backend took -> its stock expression."""
    if not isinstance(node.op, AbstractOp):
        return False
    new = node.op.stock(*node.inputs)
    new = [
        tt.patternbroadcast(v, old.broadcastable)
        for v, old in zip(new if isinstance(new, list) else [new], node.outputs)
    ]
    copy_stack_trace(node.outputs, new)
    return new


# After canonicalize and stabilize, before BlasOpt (1.7) looks for products.
optdb.register("fastvae_stock", in2out(local_stock, name="fastvae_stock"), 1.65, "fast_run", "fast_compile")
