"""Activations: elementwise functions of a float32 (or float64) expression.

Examples
--------
>>> import numpy as np
>>> relu(np.array([-1, 0, 2], dtype="float32")).eval()
array([0., 0., 2.], dtype=float32)
"""

from __future__ import annotations

from typing import Any

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.backends.abstract.relu import elementwise_relu
from fastvae.errors import ConfigurationError


@kinds.checked(x=expressions.tensor)
def relu(x: Any) -> tt.TensorVariable:
    """Rectified linear unit, max(x, 0), whose gradient at exactly 0 is 0.

    Stock `theano.tensor.nnet.relu` is ``0.5 * (x + abs(x))``, with gradient 0.5 at 0; in PyTorch and JAX it is 0, as
    here. That matters: with zero biases and black borders, 29 % of the first layer of the default ConvVAE is exactly 0.

    Parameters
    ----------
    x : float32 or float64 expression of any shape

    Returns
    -------
    Expression of the same type as `x`. NaN stays NaN, +inf stays +inf, and -inf becomes 0.

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
def sigmoid(x: Any) -> tt.TensorVariable:
    """Logistic function, 1 / (1 + exp(-x)): theano's own, which its rewrites recognise.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.zeros(1, dtype="float32")).eval()
    array([0.5], dtype=float32)
    """
    return tt.nnet.sigmoid(x)


@kinds.checked(x=expressions.tensor)
def tanh(x: Any) -> tt.TensorVariable:
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> tanh(np.zeros(1, dtype="float32")).eval()
    array([0.], dtype=float32)
    """
    return tt.tanh(x)


@kinds.checked(x=expressions.tensor)
def softplus(x: Any) -> tt.TensorVariable:
    """log(1 + exp(x)), a smooth relu; how PyMC3 turns ``rho`` into a standard deviation.

    Examples
    --------
    >>> import numpy as np
    >>> softplus(np.zeros(1, dtype="float32")).eval().round(4)
    array([0.6931], dtype=float32)
    """
    return tt.nnet.softplus(x)


@kinds.checked(x=kinds.anything)
def identity(x: Any) -> Any:
    """`x` itself: the activation of a layer without one.

    Examples
    --------
    >>> identity("anything")
    'anything'
    """
    return x
