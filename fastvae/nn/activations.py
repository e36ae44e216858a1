"""Activations: elementwise functions of a float32 (or float64) expression.

Examples
--------
>>> import numpy as np
>>> relu(np.array([-1, 0, 2], dtype="float32")).eval()
array([0., 0., 2.], dtype=float32)
"""

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.backends.abstract.relu import elementwise_relu
from fastvae.errors import ConfigurationError


@kinds.checked(x=expressions.tensor)
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
    return elementwise_relu(x)


@kinds.checked(x=expressions.tensor)
def sigmoid(x):
    """Logistic function, 1 / (1 + exp(-x)): theano's own, which its rewrites know.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.zeros(1, dtype="float32")).eval()
    array([0.5], dtype=float32)
    """
    return tt.nnet.sigmoid(x)


@kinds.checked(x=expressions.tensor)
def tanh(x):
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> tanh(np.zeros(1, dtype="float32")).eval()
    array([0.], dtype=float32)
    """
    return tt.tanh(x)


@kinds.checked(x=expressions.tensor)
def softplus(x):
    """log(1 + exp(x)), a smooth relu; PyMC3's way from ``rho`` to a standard deviation.

    Examples
    --------
    >>> import numpy as np
    >>> softplus(np.zeros(1, dtype="float32")).eval().round(4)
    array([0.6931], dtype=float32)
    """
    return tt.nnet.softplus(x)


@kinds.checked(x=kinds.anything)
def identity(x):
    """`x` itself: the activation of a layer that has none.

    Examples
    --------
    >>> identity("anything")
    'anything'
    """
    return x
