"""Activations: elementwise functions of a float32 (or float64) expression.

`ACTIVATIONS` has those of one argument by name. One with other parameters than by default is a function of its own,
such as ``lambda x: nn.leaky_relu(x, 0.2)``, or a layer such as `fastvae.nn.LeakyReLU`.

A user's own spellings in stock Theano, such as `theano.tensor.nnet.elu`, are recognised and as fast.

Examples
--------
>>> import numpy as np
>>> relu(np.array([-1, 0, 2], dtype="float32")).eval()
array([0., 0., 2.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.backends.abstract.activations import Activation, Clip, Elu, Gelu, GeluTanh, LeakyRelu, Swish
from fastvae.backends.abstract.relu import elementwise_relu
from fastvae.errors import ConfigurationError

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al., equation 14


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
    return elementwise_relu(_checked("relu", x))


def _checked(owner: str, x: Any) -> tt.TensorVariable:
    x = tt.as_tensor_variable(x)
    if x.dtype not in ("float32", "float64"):
        raise ConfigurationError(f'{owner}: the input {x} is {x.dtype}, not float32: cast it with .astype("float32")')
    return x


def _applied(owner: str, x: Any, activation: Activation) -> tt.TensorVariable:
    return tt.Elemwise(activation)(_checked(owner, x))


@kinds.checked(x=expressions.tensor, alpha=kinds.number(above=0, like=0.01))
def leaky_relu(x: Any, alpha: float = 0.01) -> tt.TensorVariable:
    """Leaky ReLU: x where it is above 0, else alpha x (Maas et al., 2013, section 2).

    Parameters
    ----------
    x : float32 or float64 expression of any shape
    alpha : float, optional
        The slope below 0, and at 0 (in ``theano.tensor.nnet.relu(x, alpha)`` it is (1 + alpha) / 2 at exactly 0).

    Returns
    -------
    Expression of the same type as `x`.

    Raises
    ------
    ConfigurationError
        If `x` is not float32 or float64, or `alpha` is not above 0: take `relu` for 0.

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu(np.array([-2, 3], dtype="float32"), 0.5).eval()
    array([-1.,  3.], dtype=float32)
    """
    return _applied("leaky_relu", x, LeakyRelu(alpha))


@kinds.checked(x=expressions.tensor, alpha=kinds.number(above=0, like=1.0))
def elu(x: Any, alpha: float = 1.0) -> tt.TensorVariable:
    """Exponential linear unit: x above 0, else alpha (exp(x) - 1) (Clevert et al., 2015, arXiv:1511.07289, eq. 15).

    Unlike `theano.tensor.nnet.elu` it has a gradient for large x, where that one's is NaN.

    Parameters
    ----------
    x : float32 or float64 expression of any shape
    alpha : float, optional
        Minus the limit at minus infinity.

    Returns
    -------
    Expression of the same type as `x`.

    Raises
    ------
    ConfigurationError
        If `x` is not float32 or float64, or `alpha` is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> elu(np.array([-1, 3], dtype="float32")).eval().round(4)
    array([-0.6321,  3.    ], dtype=float32)
    """
    return _applied("elu", x, Elu(alpha))


@kinds.checked(x=expressions.tensor)
def selu(x: Any) -> tt.TensorVariable:
    """Scaled exponential linear unit (Klambauer et al., 2017, arXiv:1706.02515, equation 2).

    ``1.0507 * elu(x, 1.6733)``: with weights of variance 1 / (number of inputs), activations keep mean 0 and variance 1
    from layer to layer. Not for convolutions with padding or before batch normalisation, which breaks that or does it.

    Parameters
    ----------
    x : float32 or float64 expression of any shape

    Returns
    -------
    Expression of the same type as `x`.

    Raises
    ------
    ConfigurationError
        If `x` is not float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> selu(np.array([-1, 1], dtype="float32")).eval().round(4)
    array([-1.1113,  1.0507], dtype=float32)
    """
    return _applied("selu", x, Elu(SELU_ALPHA, SELU_SCALE))


@kinds.checked(x=expressions.tensor, approximate=kinds.boolean)
def gelu(x: Any, approximate: bool = False) -> tt.TensorVariable:
    """Gaussian error linear unit (Hendrycks and Gimpel, 2016, arXiv:1606.08415).

    x times the probability that a standard Normal variable is below x.

    Parameters
    ----------
    x : float32 or float64 expression of any shape
    approximate : bool, optional
        The paper's approximation by tanh, which weights of some published networks were trained with; not faster.

    Returns
    -------
    Expression of the same type as `x`.

    Raises
    ------
    ConfigurationError
        If `x` is not float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> gelu(np.array([-1, 1], dtype="float32")).eval().round(4)
    array([-0.1587,  0.8413], dtype=float32)
    """
    return _applied("gelu", x, GeluTanh() if approximate else Gelu())


@kinds.checked(x=expressions.tensor, beta=kinds.number(above=0, like=1.0))
def swish(x: Any, beta: float = 1.0) -> tt.TensorVariable:
    """Swish: x sigmoid(beta x) (Ramachandran et al., 2017, arXiv:1710.05941); with beta = 1 also called SiLU.

    Parameters
    ----------
    x : float32 or float64 expression of any shape
    beta : float, optional
        How sharp it is: near 0 half of x, for large beta ReLU.

    Returns
    -------
    Expression of the same type as `x`.

    Raises
    ------
    ConfigurationError
        If `x` is not float32 or float64, or `beta` is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> swish(np.array([-1, 1], dtype="float32")).eval().round(4)
    array([-0.2689,  0.7311], dtype=float32)
    """
    return _applied("swish", x, Swish(beta))


@kinds.checked(x=expressions.tensor, lower=kinds.number(like=0.0), upper=kinds.number(like=6.0))
def clip(x: Any, lower: float, upper: float) -> tt.TensorVariable:
    """x, but at least `lower` and at most `upper`: ``clip(x, 0, 6)`` is ReLU6.

    Its gradient is 1 at the bounds too, and 0 beyond: not for what shall come back from there.

    Parameters
    ----------
    x : float32 or float64 expression of any shape
    lower, upper : float

    Returns
    -------
    Expression of the same type as `x`. NaN stays NaN.

    Raises
    ------
    ConfigurationError
        If `x` is not float32 or float64, or `lower` is not below `upper`.

    Examples
    --------
    >>> import numpy as np
    >>> clip(np.array([-1, 3, 7], dtype="float32"), 0, 6).eval()
    array([0., 3., 6.], dtype=float32)
    """
    if not lower < upper:
        raise ConfigurationError(f"clip: lower={lower!r} must be below upper={upper!r}: exchange them")
    return _applied("clip", x, Clip(lower, upper))


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


#: The activations of one argument, by name.
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    function.__name__: function
    for function in (relu, leaky_relu, elu, selu, gelu, swish, sigmoid, tanh, softplus, identity)
}
