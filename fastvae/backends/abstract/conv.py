"""The three abstract convolution Ops: a convolution and its gradients with respect to the image and the weights.

The gradient with respect to the image is the transposed convolution. All are described in the convolution's own terms:
an image (N, C, H, W), weights (O, C / groups, kh, kw) and the "top", the convolution's output (N, O, H', W').

Examples
--------
>>> import numpy as np
>>> from fastvae.backends.abstract.conv import Conv
>>> Conv(activation="relu")(np.ones((1, 1, 2, 2), "float32"), -np.ones((1, 1, 2, 2), "float32")).eval().ravel()
array([0.], dtype=float32)
"""

import theano.tensor as tt
from theano.gof import Apply
from theano.gradient import DisconnectedType
from theano.tensor.nnet.abstract_conv import (
    AbstractConv2d,
    AbstractConv2d_gradInputs,
    AbstractConv2d_gradWeights,
    get_conv_output_shape,
)

from fastvae.backends.abstract import reference
from fastvae.backends.abstract.op import AbstractOp, Product, activate


def _channels(b):
    return b.dimshuffle("x", 0, "x", "x")


def _typed_as(variable, gradient):
    return tt.patternbroadcast(gradient, variable.broadcastable)


def _connected(g):
    return not isinstance(g.type, DisconnectedType)


class _Convolution(AbstractOp):
    """The properties that a convolution shares with its transpose and its weights' gradient.

    `direction` is the number by which compiled code tells the three apart. `padding` is ((top, bottom), (left, right)),
    "half" or "full"; `flip` turns kernels round, as AbstractConv2d does.
    """

    def __init__(self, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, flip=False):
        self.stride, self.padding, self.dilation, self.groups, self.flip = stride, padding, dilation, groups, flip

    @property
    def geometry(self):
        return dict(
            stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups, flip=self.flip
        )

    @property
    def theano_geometry(self):
        return dict(subsample=self.stride, border_mode=self.padding, filter_dilation=self.dilation,
                    num_groups=self.groups, filter_flip=self.flip)  # fmt: skip

    def _out_shape(self, image, weights):
        return get_conv_output_shape(image, weights, self.padding, self.stride, self.dilation)


class Conv(_Convolution, Product):
    """Convolution + bias + activation: image, weights (O, C / groups, kh, kw) [, bias (O,)] -> (N, O, H', W')."""

    direction = 0
    row_inputs = (0,)
    __props__ = ("stride", "padding", "dilation", "groups", "flip", "activation")

    def __init__(self, activation=None, **geometry):
        super().__init__(**geometry)
        self.activation = activation

    def with_activation(self, activation):
        return type(self)(activation, **self.geometry)

    def make_node(self, x, w, *bias):
        x, w, *bias = map(tt.as_tensor_variable, (x, w, *bias))
        return Apply(self, [x, w, *bias], [tt.TensorType(x.dtype, [x.broadcastable[0], False, False, False])()])

    def perform(self, node, inputs, outputs):
        x, w, *bias = inputs
        y = reference.forward(x, w, **self.geometry)
        for b in bias:
            y += b[:, None, None]
        outputs[0][0] = reference.activate(y, self.activation)

    def stock(self, x, w, *bias):
        y = AbstractConv2d(**self.theano_geometry)(x, w)
        return activate(y + _channels(bias[0]) if bias else y, self.activation)

    def grad(self, inputs, gradients):
        x, w, *bias = inputs
        g = self.grad_of_activation(inputs, gradients[0])
        summed = ConvWeightsGradient("top" if bias else None, **self.geometry)(x, g, w, return_list=True)
        return [_typed_as(x, ConvTransposed(**self.geometry)(g, w, x)), _typed_as(w, summed[0]), *summed[1:]]

    def infer_shape(self, node, shapes):
        return [self._out_shape(shapes[0], shapes[1])]


class ConvTransposed(_Convolution, Product):
    """Transposed convolution (a convolution's gradient with respect to its image) + bias + activation.

    Inputs top (N, O, H', W'), weights (O, C / groups, kh, kw) [, bias (C,)] [, like] -> (N, C, H, W). With a stride
    the other inputs do not determine (H, W). `like` does: an image of that size, or two integers. Without it, the size
    is the smallest possible one.
    """

    direction = 1
    row_inputs = (0,)
    __props__ = ("stride", "padding", "dilation", "groups", "flip", "activation")

    def __init__(self, activation=None, **geometry):
        super().__init__(**geometry)
        self.activation = activation

    def with_activation(self, activation):
        return type(self)(activation, **self.geometry)

    @staticmethod
    def options(inputs):
        """([bias], [like]) out of the inputs: each list empty or of one."""
        rest = inputs[2:]
        bias = [v for v in rest if v.ndim == 1 and v.dtype.startswith("float")]
        return bias, [v for v in rest if v not in bias]

    def make_node(self, g, w, *rest):
        g, w, *rest = map(tt.as_tensor_variable, (g, w, *rest))
        return Apply(self, [g, w, *rest], [tt.TensorType(g.dtype, [g.broadcastable[0], False, False, False])()])

    def with_bias(self, inputs, bias):
        old, like = self.options(inputs)
        return None if old else [*inputs[:2], bias, *like]

    def _size(self, top, weights, like):
        if like is not None:
            return tuple(like.shape[2:] if like.ndim == 4 else like)
        pad = reference.pads(self.padding, weights[2:], self.dilation)
        return tuple(
            (n - 1) * s - sum(p) + (k - 1) * d + 1
            for n, s, p, k, d in zip(top[2:], self.stride, pad, weights[2:], self.dilation)
        )

    def perform(self, node, inputs, outputs):
        bias, like = self.options(node.inputs)
        g, w, *rest = inputs
        size = self._size(g.shape, w.shape, rest[len(bias)] if like else None)
        if reference.out_size(size, w.shape[2:], self.padding, self.stride, self.dilation) != g.shape[2:]:
            raise ValueError(f"an image of size {size} does not give an output of size {g.shape[2:]}")
        y = reference.image_gradient(g, w, image_size=size, **self.geometry)
        if bias:
            y += rest[0][:, None, None]
        outputs[0][0] = reference.activate(y, self.activation)

    def stock(self, g, w, *rest):
        bias, like = self.options((g, w, *rest))
        size = self._size(g.shape, w.shape, *(like or [None]))
        y = AbstractConv2d_gradInputs(**self.theano_geometry)(w, g, tt.stack(size))
        return activate(y + _channels(bias[0]) if bias else y, self.activation)

    def grad(self, inputs, gradients):
        g, w = inputs[:2]
        bias, like = self.options(inputs)
        gy = self.grad_of_activation(inputs, gradients[0])
        summed = ConvWeightsGradient("image" if bias else None, **self.geometry)(gy, g, w, return_list=True)
        by_inputs = [_typed_as(g, Conv(**self.geometry)(gy, w)), _typed_as(w, summed[0]), *summed[1:]]
        return [*by_inputs, *(DisconnectedType()() for _ in like)]

    def connection_pattern(self, node):
        like = self.options(node.inputs)[1]
        return [[v not in like] for v in node.inputs]

    def infer_shape(self, node, shapes):
        bias, like = self.options(node.inputs)
        top, weights = shapes[:2]
        if like:
            size = shapes[-1][2:] if like[0].ndim == 4 else (like[0][0], like[0][1])
        else:
            size = self._size(top, weights, None)
        return [(top[0], weights[1] * self.groups, *size)]


class ConvWeightsGradient(_Convolution):
    """A convolution's gradient with respect to its weights, and to its bias in the same pass.

    Inputs image, top, like (weights of that kernel size, or two integers) -> weights' gradient [, sums over N, H, W of
    `sum_of`: "top" for a convolution's bias, "image" for a transposed one's].
    """

    direction = 2
    __props__ = ("stride", "padding", "dilation", "groups", "flip", "sum_of")

    def __init__(self, sum_of=None, **geometry):
        super().__init__(**geometry)
        self.sum_of = sum_of

    def make_node(self, x, g, like):
        x, g, like = map(tt.as_tensor_variable, (x, g, like))
        sums = [tt.TensorType(x.dtype, [False])()] if self.sum_of else []
        return Apply(self, [x, g, like], [tt.TensorType(x.dtype, [False] * 4)(), *sums])

    def perform(self, node, inputs, outputs):
        x, g, like = inputs
        kernel = like.shape[2:] if like.ndim == 4 else tuple(like)
        outputs[0][0] = reference.weights_gradient(x, g, kernel=kernel, **self.geometry)
        if self.sum_of:
            outputs[1][0] = (x if self.sum_of == "image" else g).sum((0, 2, 3))

    def stock(self, x, g, like):
        kernel = like.shape[2:] if like.ndim == 4 else like
        gw = AbstractConv2d_gradWeights(**self.theano_geometry)(x, g, kernel)
        return [gw, (x if self.sum_of == "image" else g).sum((0, 2, 3))] if self.sum_of else gw

    def grad(self, inputs, gradients):
        x, g, like = inputs
        by_image, by_top = x.zeros_like(), g.zeros_like()
        if _connected(gradients[0]):
            by_image = ConvTransposed(**self.geometry)(g, gradients[0], x)
            by_top = Conv(**self.geometry)(x, gradients[0])
        if self.sum_of and _connected(gradients[1]):
            if self.sum_of == "image":
                by_image += _channels(gradients[1])
            else:
                by_top += _channels(gradients[1])
        return [by_image, by_top, DisconnectedType()()]

    def connection_pattern(self, node):
        sums = [[self.sum_of == "image"], [self.sum_of == "top"], [False]] if self.sum_of else [[], [], []]
        return [[connected, *more] for connected, more in zip((True, True, False), sums)]

    def infer_shape(self, node, shapes):
        image, top, like = shapes
        vector = node.inputs[2]
        size = like[2:] if vector.ndim == 4 else (vector[0], vector[1])
        sums = [(image[1] if self.sum_of == "image" else top[1],)] if self.sum_of else []
        return [(top[1], image[1] // self.groups, *size), *sums]
