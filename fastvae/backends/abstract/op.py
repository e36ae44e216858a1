"""Abstract Ops: each is defined by one expression of stock Ops, and states what holds for it on every device.

Where no backend takes an abstract Op, it becomes that expression, so that a model runs on every device.

Examples
--------
>>> from theano.gof import Apply
>>> class Double(AbstractOp):
...     __props__ = ()
...     row_inputs = (0,)
...     def make_node(self, x):
...         return Apply(self, [x], [x.type()])
...     def stock(self, x):
...         return x + x
>>> x = tt.fvector()
>>> (2 + Double()(x)).eval({x: np.ones(2, "float32")})
array([4., 4.], dtype=float32)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt
from theano.compile import optdb
from theano.gof import Op, local_optimizer
from theano.gof.opt import copy_stack_trace, in2out

from fastvae.backends.abstract import activations
from fastvae.backends.abstract.relu import relu_gradient

ACTIVATIONS = (None, "relu", "sigmoid")


def activate(y: Any, activation: str | Op | None) -> Any:
    """The activation of y, as a `Product` has it."""
    return y if activation is None else tt.Elemwise(activations.scalar_op(activation))(y)


class AbstractOp(Op):
    """An Op that `stock(*inputs)` defines in stock Ops: one expression, or a list of them.

    Attributes
    ----------
    row_inputs : tuple of int
        The inputs whose first axis is the batch, if row i of every output depends on row i of these alone, and on the
        other inputs as a whole (weights, biases). Empty if that is not so, or not known.
    """

    row_inputs: tuple[int, ...] = ()

    def __repr__(self):
        return str(self)


class Product(AbstractOp):
    """A product of the first two inputs, then a bias and an activation, if there are any; fuses with what follows it.

    Attributes
    ----------
    activation : None, "relu", "sigmoid" or a scalar Op
        One of `fastvae.backends.abstract.activations.KINDS`.
    """

    activation: str | Op | None

    def with_activation(self, activation: str | Op | None) -> Product:
        """The same Op with this activation."""
        raise NotImplementedError

    def with_bias(self, inputs: list, bias: Any) -> list | None:
        """The inputs and this bias, None if they have one already."""
        return None if len(inputs) > 2 else [*inputs, bias]

    def grad_of_activation(self, inputs, g):
        if self.activation is None:
            return g
        y = self(*inputs)
        if self.activation == "relu":
            return relu_gradient(y, g)
        if self.activation == "sigmoid":
            return g * y * (np.array(1, y.dtype) - y)
        op = tt.Elemwise(activations.scalar_op(self.activation))
        return op.L_op([self.with_activation(None)(*inputs)], [y], [g])[0]


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
