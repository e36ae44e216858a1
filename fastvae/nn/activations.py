"""Activations: elementwise functions of a float32 (or float64) expression.

Examples
--------
>>> import numpy as np
>>> relu(np.array([-1, 0, 2], dtype="float32")).eval()
array([0., 0., 2.], dtype=float32)
"""
import theano
import theano.tensor as tt

from fastvae.errors import ConfigurationError


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
_relu = tt.Elemwise(relu_scalar)


def relu(x):
    """Rectified linear unit, max(x, 0), whose gradient at exactly 0 is 0.

    Stock `theano.tensor.nnet.relu` is ``0.5 * (x + abs(x))``, with gradient 0.5 at 0; PyTorch and
    JAX take 0, as here. It matters: with zero biases and black borders 29 % of the first layer of
    the default ConvVAE is exactly 0.

    Parameters
    ----------
    x : float32 or float64 expression of any shape

    Returns
    -------
    Expression of the type of `x`. NaN stays NaN; +inf stays +inf; -inf becomes 0.

    Raises
    ------
    ConfigurationError
        If `x` is not float32 or float64: an integer has no gradient.

    Examples
    --------
    >>> import theano
    >>> x = theano.shared(0.0)
    >>> theano.grad(relu(x), x).eval()
    array(0.)
    >>> theano.grad(tt.nnet.relu(x), x).eval()
    array(0.5)
    """
    x = tt.as_tensor_variable(x)
    if x.dtype not in ("float32", "float64"):
        raise ConfigurationError(f'relu: the input {x} is {x.dtype}, not float32: cast it with .astype("float32")')
    return _relu(x)


def sigmoid(x):
    """Logistic function, 1 / (1 + exp(-x)): theano's own, which its rewrites know.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.zeros(1, dtype="float32")).eval()
    array([0.5], dtype=float32)
    """
    return tt.nnet.sigmoid(x)


def tanh(x):
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> tanh(np.zeros(1, dtype="float32")).eval()
    array([0.], dtype=float32)
    """
    return tt.tanh(x)


def softplus(x):
    """log(1 + exp(x)), a smooth relu; PyMC3's way from ``rho`` to a standard deviation.

    Examples
    --------
    >>> import numpy as np
    >>> softplus(np.zeros(1, dtype="float32")).eval().round(4)
    array([0.6931], dtype=float32)
    """
    return tt.nnet.softplus(x)


def identity(x):
    """`x` itself: the activation of a layer that has none.

    Examples
    --------
    >>> identity("anything")
    'anything'
    """
    return x
