"""The abstract Op of a dense layer.

Examples
--------
>>> Dense("relu")(np.ones((1, 2), "float32"), np.eye(2, dtype="float32"), np.array([1, -3], "float32")).eval().tolist()
[[2.0, 0.0]]
"""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.abstract import reference
from fastvae.backends.abstract.op import Product, activate


class Dense(Product):
    """Dense layer: x (m, n_in), w (n_in, n_out) [, bias (n_out,)] -> activation(x w + bias)."""

    __props__ = ("activation",)
    row_inputs = (0,)

    def __init__(self, activation=None):
        self.activation = activation

    def with_activation(self, activation):
        return Dense(activation)

    def make_node(self, x, w, *bias):
        x, w, *bias = map(tt.as_tensor_variable, (x, w, *bias))
        return Apply(self, [x, w, *bias], [tt.TensorType(x.dtype, [x.broadcastable[0], w.broadcastable[1]])()])

    def perform(self, node, inputs, outputs):
        x, w, *bias = inputs
        outputs[0][0] = reference.activate(sum(bias, np.dot(x, w)), self.activation)

    def stock(self, x, w, *bias):
        return activate(sum(bias, tt.dot(x, w)), self.activation)

    def grad(self, inputs, gradients):
        x, w, *bias = inputs
        g = self.grad_of_activation(inputs, gradients[0])
        return [tt.dot(g, w.T), tt.dot(x.T, g), *(g.sum(0) for _ in bias)]

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], shapes[1][1])]
