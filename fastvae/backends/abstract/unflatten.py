"""The abstract Op that shows the rows of a matrix as images.

Examples
--------
>>> import numpy as np
>>> Unflatten((1, 2, 2))(np.arange(4, dtype="float32")[None]).eval().tolist()
[[[[0.0, 1.0], [2.0, 3.0]]]]
"""

import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.abstract.op import AbstractOp


class Unflatten(AbstractOp):
    """Each row of a matrix as an image: (n, C * H * W) -> (n, C, H, W), no axis of it broadcastable."""

    __props__ = ("shape",)
    row_inputs = (0,)

    def __init__(self, shape):
        self.shape = tuple(shape)

    def make_node(self, x):
        x = tt.as_tensor_variable(x)
        return Apply(self, [x], [tt.TensorType(x.dtype, [x.broadcastable[0], False, False, False])()])

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].reshape((-1, *self.shape)).copy()

    def stock(self, x):
        return tt.unbroadcast(x.reshape((x.shape[0], *self.shape)), 1, 2, 3)

    def grad(self, inputs, gradients):
        return [gradients[0].reshape(inputs[0].shape)]

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], *map(tt.constant, self.shape))]
