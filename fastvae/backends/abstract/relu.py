"""ReLU whose gradient comes from its output: g where y > 0, else 0 (also at exactly 0).

Examples
--------
>>> import numpy as np, theano.tensor as tt
>>> relu_gradient(tt.constant(np.float32([0, 2])), tt.constant(np.float32([5, 5]))).eval()
array([0., 5.], dtype=float32)
"""

import theano
import theano.tensor as tt


class ReluGradient(theano.scalar.BinaryScalarOp):
    """(y, gradient), y being relu's output -> gradient where y > 0, else 0."""

    def impl(self, y, gradient):
        return gradient if y > 0 else 0

    def c_code(self, node, name, inputs, outputs, sub):
        return f"{outputs[0]} = {inputs[0]} > 0 ? {inputs[1]} : 0;"

    def c_code_cache_version(self):
        return (1,)

    def L_op(self, inputs, outputs, gradients):
        y, _ = inputs
        return [y.zeros_like(), relu_gradient_scalar(y, gradients[0])]


class Relu(theano.scalar.UnaryScalarOp):
    """x where x > 0, 0 where x <= 0; NaN stays NaN."""

    def impl(self, x):
        return 0 if x < 0 else x

    def c_code(self, node, name, inputs, outputs, sub):
        return f"{outputs[0]} = {inputs[0]} < 0 ? 0 : {inputs[0]};"

    def c_code_cache_version(self):
        return (1,)

    def L_op(self, inputs, outputs, gradients):
        return [relu_gradient_scalar(outputs[0], gradients[0])]


relu_scalar = Relu(theano.scalar.same_out, name="relu")
relu_gradient_scalar = ReluGradient(theano.scalar.transfer_type(0), name="relu_gradient")
elementwise_relu = tt.Elemwise(relu_scalar)
relu_gradient = tt.Elemwise(relu_gradient_scalar)
