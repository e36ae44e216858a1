"""Device-free Ops of a VAE's layers: what is computed, its gradient, and what it means in stock Theano.

    conv2d, conv_transpose2d, dense    the layers: product, bias and activation in one Op
    Conv, ConvTransposed, ConvWeightsGradient, Dense    their Ops (the first three in `convolutions`)
    relu_gradient                      the gradient of ReLU from its output: g where y > 0, else 0
    AdamStep                           one Adam update of one parameter

A backend's rewrites lower them to its own Ops; what no backend takes becomes stock Ops (`fastvae.backends.stock`), so a
model runs on every device. Images are (N, C, H, W).

Examples
--------
>>> import numpy as np, theano, theano.tensor as tt
>>> from fastvae.backends import abstract
>>> x, w = tt.tensor4("x", "float32"), tt.tensor4("w", "float32")
>>> y = abstract.conv2d(x, w, stride=2, padding=1, activation="relu")
>>> y.eval({x: np.ones((1, 1, 4, 4), "float32"), w: np.ones((1, 1, 3, 3), "float32")})[0, 0].tolist()
[[4.0, 6.0], [6.0, 9.0]]
"""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.convolutions import Conv, ConvTransposed, ConvWeightsGradient  # noqa: F401
from fastvae.backends.stock import AbstractOp, activate, relu_gradient  # noqa: F401
from fastvae.errors import ConfigurationError

__all__ = [
    *["conv2d", "conv_transpose2d", "dense", "relu_gradient"],
    *["Conv", "ConvTransposed", "ConvWeightsGradient", "Dense", "AdamStep"],
]


class Dense(AbstractOp):
    """Dense layer: x (m, n_in), w (n_in, n_out) [, bias (n_out,)] -> activation(x w + bias)."""

    __props__ = ("activation",)

    def __init__(self, activation=None):
        self.activation = activation

    def make_node(self, x, w, *bias):
        x, w, *bias = map(tt.as_tensor_variable, (x, w, *bias))
        return Apply(self, [x, w, *bias], [tt.TensorType(x.dtype, [x.broadcastable[0], w.broadcastable[1]])()])

    def perform(self, node, inputs, outputs):
        x, w, *bias = inputs
        y = sum(bias, np.dot(x, w))
        outputs[0][0] = np.maximum(y, 0, out=y) if self.activation else y

    def stock(self, x, w, *bias):
        return activate(sum(bias, tt.dot(x, w)), self.activation)

    def grad(self, inputs, gradients):
        x, w, *bias = inputs
        g = self.grad_of_activation(inputs, gradients[0])
        return [tt.dot(g, w.T), tt.dot(x.T, g), *(g.sum(0) for _ in bias)]

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], shapes[1][1])]


class AdamStep(AbstractOp):
    """One Adam update: parameter, gradient, m, v, rate () -> the new parameter, m and v.

    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g**2``, ``p -= rate m / (sqrt(v) + epsilon)``; `rate`
    is the learning rate times the step's bias correction. Kingma and Ba, 2014, arXiv:1412.6980, end of section 2.
    """

    __props__ = ("beta1", "beta2", "epsilon")

    def __init__(self, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def make_node(self, *inputs):
        p, g, m, v, rate = map(tt.as_tensor_variable, inputs)
        return Apply(self, [p, g, m, v, rate], [p.type(), m.type(), v.type()])

    def _next(self, p, g, m, v, rate, sqrt):
        beta1, beta2, epsilon, one = (np.array(c, p.dtype) for c in (self.beta1, self.beta2, self.epsilon, 1))
        m = beta1 * m + (one - beta1) * g
        v = beta2 * v + (one - beta2) * g**2
        return [p - rate * m / (sqrt(v) + epsilon), m, v]

    def perform(self, node, inputs, outputs):
        for cell, value, variable in zip(outputs, self._next(*inputs, np.sqrt), node.outputs):
            cell[0] = np.asarray(value, variable.dtype)

    def stock(self, *inputs):
        return self._next(*inputs, tt.sqrt)

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[2], shapes[3]]


def _pair(name, value, least):
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in pair):
        raise ConfigurationError(f"{name} must be an integer of at least {least} or a pair of them, got {value!r}")
    return tuple(int(v) for v in pair)


def _settings(stride, padding, dilation, groups, activation):
    if activation not in (None, "relu"):
        raise ConfigurationError(f"activation must be None or 'relu', got {activation!r}: apply others to the result")
    if not isinstance(groups, (int, np.integer)) or groups < 1:
        raise ConfigurationError(f"groups must be an integer of at least 1, got {groups!r}")
    if padding not in ("half", "full"):
        if isinstance(padding, str):
            raise ConfigurationError(f"padding must be an integer, a pair, 'half' or 'full', got {padding!r}")
        if np.ndim(padding) == 2:
            padding = tuple(_pair("padding", p, 0) for p in padding)
        else:
            padding = tuple((p, p) for p in _pair("padding", padding, 0))
    return dict(stride=_pair("stride", stride, 1), padding=padding, dilation=_pair("dilation", dilation, 1),
                groups=int(groups), activation=activation)  # fmt: skip


def _operands(ndim, x, w, b):
    operands = [tt.as_tensor_variable(v) for v in ((x, w) if b is None else (x, w, b))]
    for name, v, n in zip(("x", "w", "b"), operands, (ndim, ndim, 1)):
        if v.ndim != n or not v.dtype.startswith("float"):
            raise ConfigurationError(f"{name} must be a float tensor of {n} axes, got {v.type!r}")
    if len({v.dtype for v in operands}) > 1:
        raise ConfigurationError(f"x, w and b must share one dtype, got {', '.join(v.dtype for v in operands)}")
    return operands


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, activation=None):
    """Convolution layer: cross-correlation (kernels are not flipped), bias and activation in one Op.

    Parameters
    ----------
    x : float tensor4, shape (N, C, H, W)
    w : float tensor4, shape (O, C / groups, kh, kw)
    b : float vector, shape (O,), optional
    stride, dilation : int or pair of int
    padding : int, pair of int, pair of pairs ((top, bottom), (left, right)), "half" or "full"
    groups : int
    activation : None or "relu"
        ReLU's gradient at exactly 0 is 0 (``tt.nnet.relu``: 0.5).

    Returns
    -------
    float tensor4, shape (N, O, H', W')

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, b = np.ones((1, 1, 3, 3), "float32"), np.ones((1, 1, 2, 2), "float32"), np.ones(1, "float32")
    >>> conv2d(x, w, b).eval().tolist()
    [[[[5.0, 5.0], [5.0, 5.0]]]]
    """
    return Conv(**_settings(stride, padding, dilation, groups, activation))(*_operands(4, x, w, b))


def conv_transpose2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, activation=None):
    """Transposed convolution layer: the transpose of `conv2d`, bias and activation in one Op.

    Parameters
    ----------
    x : float tensor4, shape (N, C, H, W)
    w : float tensor4, shape (C, O / groups, kh, kw)
    b : float vector, shape (O,), optional
    stride, padding, dilation, groups, activation :
        As in `conv2d`; stride, padding and dilation are those of the convolution that this one transposes.

    Returns
    -------
    float tensor4, shape (N, O, H', W')
        ``H' = (H - 1) * stride - padding_top - padding_bottom + dilation * (kh - 1) + 1``.

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d(np.ones((1, 1, 1, 2), "float32"), np.ones((1, 1, 1, 2), "float32")).eval().tolist()
    [[[[1.0, 2.0, 1.0]]]]
    """
    return ConvTransposed(**_settings(stride, padding, dilation, groups, activation))(*_operands(4, x, w, b))


def dense(x, w, b=None, activation=None):
    """Dense layer: product, bias and activation in one Op.

    Parameters
    ----------
    x : float matrix, shape (N, n_in)
    w : float matrix, shape (n_in, n_out)
    b : float vector, shape (n_out,), optional
    activation : None or "relu"

    Returns
    -------
    float matrix, shape (N, n_out)

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, b = np.ones((1, 2), "float32"), np.eye(2, dtype="float32"), np.array([1, -3], "float32")
    >>> dense(x, w, b, activation="relu").eval().tolist()
    [[2.0, 0.0]]
    """
    return Dense(_settings(1, 0, 1, 1, activation)["activation"])(*_operands(2, x, w, b))
