"""Device-free Ops of a VAE's layers: what is computed, its gradient, and what it means in stock Theano.

    conv2d, conv_transpose2d, dense    the layers: product, bias and activation in one Op
    Conv, ConvTransposed, ConvWeightsGradient, Dense    their Ops (the first three in `convolutions`)
    Unflatten                          rows as images, without broadcastable axes
    relu_gradient                      the gradient of ReLU from its output: g where y > 0, else 0
    AdamStep                           one Adam update of some parameters

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
from theano.gof import Apply, Op

from fastvae.backends import reference
from fastvae.backends.convolutions import Conv, ConvTransposed, ConvWeightsGradient  # noqa: F401
from fastvae.backends.stock import ACTIVATIONS, AbstractOp, activate, relu_gradient  # noqa: F401
from fastvae.errors import ConfigurationError

__all__ = [
    *["conv2d", "conv_transpose2d", "dense", "relu_gradient"],
    *["Conv", "ConvTransposed", "ConvWeightsGradient", "Dense", "Unflatten", "AdamStep"],
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
        outputs[0][0] = reference.activate(sum(bias, np.dot(x, w)), self.activation)

    def stock(self, x, w, *bias):
        return activate(sum(bias, tt.dot(x, w)), self.activation)

    def grad(self, inputs, gradients):
        x, w, *bias = inputs
        g = self.grad_of_activation(inputs, gradients[0])
        return [tt.dot(g, w.T), tt.dot(x.T, g), *(g.sum(0) for _ in bias)]

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], shapes[1][1])]


class Unflatten(AbstractOp):
    """Each row of a matrix as an image: (n, C * H * W) -> (n, C, H, W), no axis of it broadcastable."""

    __props__ = ("shape",)

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


class AdamStep(AbstractOp):
    """One Adam update of some parameters: rate (), then p, gradient, m, v of each -> the new p, m and v of each.

    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g**2``, ``p -= rate m / (sqrt(v) + epsilon)``; `rate`
    is the learning rate times the step's bias correction. Kingma and Ba, 2014, arXiv:1412.6980, end of section 2.
    """

    __props__ = ("beta1", "beta2", "epsilon")

    def __init__(self, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def make_node(self, rate, *parameters):
        rate, *parameters = map(tt.as_tensor_variable, (rate, *parameters))
        return Apply(self, [rate, *parameters], [v.type() for v in self.updated(parameters)])

    @staticmethod
    def updated(parameters):
        """p, m and v of each, without the gradients."""
        return [v for i, v in enumerate(parameters) if i % 4 != 1]

    @staticmethod
    def is_compilable(rate, *parameters):
        """Whether the backends' Ops take these inputs: float32, p, gradient, m and v of each broadcastable alike."""
        alike = all(len({v.broadcastable for v in parameters[i : i + 4]}) == 1 for i in range(0, len(parameters), 4))
        return alike and rate.ndim == 0 and all(v.dtype == "float32" for v in (rate, *parameters))

    def _next(self, rate, parameters, sqrt):
        new = []
        for p, g, m, v in zip(*(parameters[i::4] for i in range(4))):
            beta1, beta2, epsilon, one = (np.array(c, p.dtype) for c in (self.beta1, self.beta2, self.epsilon, 1))
            m = beta1 * m + (one - beta1) * g
            v = beta2 * v + (one - beta2) * g**2
            new += [p - rate * m / (sqrt(v) + epsilon), m, v]
        return new

    def perform(self, node, inputs, outputs):
        for cell, value, variable in zip(outputs, self._next(inputs[0], inputs[1:], np.sqrt), node.outputs):
            cell[0] = np.asarray(value, variable.dtype)

    def stock(self, rate, *parameters):
        return self._next(rate, parameters, tt.sqrt)

    def infer_shape(self, node, shapes):
        return self.updated(shapes[1:])


class CompiledAdam(Op):
    """What the backends' Ops of an `AdamStep` have in common; in place of every p, m and v where asked."""

    kind = "Adam"
    __props__ = ("meaning", "n_parameters", "inplace")

    def __init__(self, meaning, n_parameters, inplace=False):
        self.meaning, self.n_parameters, self.inplace = meaning, n_parameters, inplace
        if inplace:
            self.destroy_map = {i: [source] for i, source in enumerate(self.sources())}

    def sources(self):
        """Which input becomes which output."""
        return self.meaning.updated(range(1, 4 * self.n_parameters + 1))

    def settings(self, node):
        return (self.inplace, self.meaning.beta1, self.meaning.beta2, self.meaning.epsilon)

    def infer_shape(self, node, shapes):
        return self.meaning.infer_shape(node, shapes)


def _pair(name, value, least):
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in pair):
        raise ConfigurationError(f"{name} must be an integer of at least {least} or a pair of them, got {value!r}")
    return tuple(int(v) for v in pair)


def _settings(stride, padding, dilation, groups, activation):
    if activation not in ACTIVATIONS:
        raise ConfigurationError(
            f"activation must be None, 'relu' or 'sigmoid', got {activation!r}: apply others to the result"
        )
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
    activation : None, "relu" or "sigmoid"
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
    activation : None, "relu" or "sigmoid"

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
