"""Theano Ops on oneDNN, float32. Activations of convolutions are (N, H, W, C), contiguous or not.

All run in the module that `library` compiles once: an Op only names its C kind and settings, so that Theano generates
and compiles no C for any of them. Their `perform`, which Theano's Python modes use, is numpy.
"""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply, Op
from theano.sandbox.rng_mrg import mrg_uniform

from fastvae.backends import abstract, c_module
from fastvae.backends.abstract import reference
from fastvae.backends.abstract.adam import CompiledAdam
from fastvae.backends.cpu import library

_HALF, _FULL = (-1, -1), (-2, -2)  # as in c_code/convolution.c


class OneDNNOp(Op):
    """An Op of the compiled module: `kind` names it there, `settings(node)` are its constants."""

    kind = None

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        if impl == "py":
            return super().make_thunk(node, storage_map, compute_map, no_recycling, impl)
        return c_module.thunk(library.load(), self.kind, self.settings(node), node, storage_map, compute_map)


def _pads(padding):
    return {"half": (_HALF, _HALF), "full": (_FULL, _FULL)}.get(padding, padding)


def _nchw(a):
    return a.transpose(0, 3, 1, 2)


def _nhwc(a):
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1))


class Convolution(OneDNNOp):
    """An abstract convolution Op (`Conv`, `ConvTransposed` or `ConvWeightsGradient`) on images in NHWC.

    Inputs and outputs are those of the abstract Op, its images in NHWC; an image given as `like` too. With `winograd`,
    3x3 kernels of stride 1 over many channels go through c_code/winograd.c where the processor has AVX-512.
    """

    kind = "Convolution"
    __props__ = ("meaning", "winograd")
    directions = (abstract.Conv, abstract.ConvTransposed, abstract.ConvWeightsGradient)

    def __init__(self, meaning, winograd=False):
        self.meaning, self.winograd = meaning, winograd
        self.direction = self.directions.index(type(meaning))

    def __str__(self):
        return f"OneDNN{self.meaning}"

    def make_node(self, *inputs):
        inputs = list(map(tt.as_tensor_variable, inputs))
        a = inputs[0]
        image = tt.TensorType("float32", [a.broadcastable[0], False, False, False])
        if self.direction < 2:
            return Apply(self, inputs, [image()])
        sums = [tt.TensorType("float32", [False])()] if self.meaning.sum_of else []
        return Apply(self, inputs, [tt.TensorType("float32", [False] * 4)(), *sums])

    def settings(self, node):
        m, backward = self.meaning, self.direction == 2
        bias, like = abstract.ConvTransposed.options(node.inputs)
        activation = 0 if backward else abstract.ACTIVATIONS.index(m.activation)
        sum_of = {None: 0, "top": 1, "image": 2}[m.sum_of] if backward else 0
        pads = [p for pair in _pads(m.padding) for p in pair]
        return (self.direction, *m.stride, *m.dilation, m.groups, *pads, m.flip, activation,
                bool(bias) and not backward, bool(like), sum_of, self.winograd)  # fmt: skip

    def on_images(self, node, inputs, transpose):
        """The node's inputs (or their values, or shapes), of every image `transpose(image)`."""
        images = {0} | ({1} if self.direction == 2 else set())
        if self.direction == 1:
            images |= {i for i, v in enumerate(node.inputs) if i > 1 and v.ndim == 4}
        return [transpose(a) if i in images else a for i, a in enumerate(inputs)]

    def perform(self, node, inputs, outputs):
        inputs = self.on_images(node, inputs, _nchw)
        self.meaning.perform(node, inputs, outputs)
        if self.direction < 2:
            outputs[0][0] = _nhwc(outputs[0][0])

    def infer_shape(self, node, shapes):
        shapes = self.on_images(node, shapes, lambda s: (s[0], s[3], s[1], s[2]))
        first, *rest = self.meaning.infer_shape(node, shapes)
        return [(first[0], first[2], first[3], first[1]) if self.direction < 2 else first, *rest]

    def connection_pattern(self, node):
        if hasattr(self.meaning, "connection_pattern"):
            return self.meaning.connection_pattern(node)
        return [[True] for _ in node.inputs]


class MatMul(OneDNNOp):
    """x w [+ bias] [then an activation], each matrix transposed first where asked."""

    kind = "MatMul"
    __props__ = ("activation", "transposed")

    def __init__(self, activation=None, transposed=(False, False)):
        self.activation, self.transposed = activation, transposed

    def make_node(self, x, w, *bias):
        rows, columns = (v.broadcastable[i ^ t] for i, (v, t) in enumerate(zip((x, w), self.transposed)))
        return Apply(self, [x, w, *bias], [tt.TensorType("float32", [rows, columns])()])

    def settings(self, node):
        return (len(node.inputs) == 3, abstract.ACTIVATIONS.index(self.activation), *self.transposed)

    def perform(self, node, inputs, outputs):
        x, w = (a.T if t else a for a, t in zip(inputs, self.transposed))
        outputs[0][0] = reference.activate(sum(inputs[2:], np.dot(x, w)), self.activation)

    def infer_shape(self, node, shapes):
        (x, w), (tx, tw) = shapes[:2], self.transposed
        return [(x[1] if tx else x[0], w[0] if tw else w[1])]


class Gemm(OneDNNOp):
    """beta z + alpha x y, in place of z where asked; inputs z, alpha, x, y, beta as Theano's own Gemm."""

    kind = "Gemm"
    __props__ = ("inplace",)

    def __init__(self, inplace=False):
        self.inplace = inplace
        if inplace:
            self.destroy_map = {0: [0]}

    def make_node(self, *inputs):
        return Apply(self, list(inputs), [inputs[0].type()])

    def settings(self, node):
        return (self.inplace,)

    def perform(self, node, inputs, outputs):
        z, alpha, x, y, beta = inputs
        out = z if self.inplace else z.copy()
        out *= beta
        out += alpha * np.dot(x, y)
        outputs[0][0] = out

    def infer_shape(self, node, shapes):
        return [shapes[0]]


class Layout(OneDNNOp):
    """The input with its axes in another order, contiguous: one threaded copy, or a view where that is enough."""

    kind = "Contiguous"
    __props__ = ("order",)
    view_map = {0: [0]}

    def __init__(self, order):
        self.order = tuple(order)

    def make_node(self, x):
        return Apply(self, [x], [tt.TensorType(x.dtype, [x.broadcastable[i] for i in self.order])()])

    def settings(self, node):
        return (len(self.order), *self.order, *(0,) * (4 - len(self.order)))

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.ascontiguousarray(inputs[0].transpose(self.order))

    def infer_shape(self, node, shapes):
        return [tuple(shapes[0][i] for i in self.order)]


to_nhwc, to_nchw = Layout((0, 2, 3, 1)), Layout((0, 3, 1, 2))


class ReshapeLike(OneDNNOp):
    """The values of the first input in the shape of the second: what the gradient of a reshape is."""

    kind = "ReshapeLike"
    __props__ = ()
    view_map = {0: [0]}

    def make_node(self, a, b):
        return Apply(self, [a, b], [b.type()])

    def settings(self, node):
        return tuple(v.ndim for v in node.inputs)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].reshape(inputs[1].shape)

    def connection_pattern(self, node):
        return [[True], [False]]

    def infer_shape(self, node, shapes):
        return [shapes[1]]


class Unflatten(OneDNNOp):
    """An `abstract.Unflatten`: a view of a contiguous matrix."""

    kind = "Unflatten"
    __props__ = ("meaning",)
    view_map = {0: [0]}

    def __init__(self, meaning):
        self.meaning = meaning

    def make_node(self, x):
        return Apply(self, [x], [v.type() for v in self.meaning.make_node(x).outputs])

    def settings(self, node):
        return self.meaning.shape

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].reshape((-1, *self.meaning.shape))

    def infer_shape(self, node, shapes):
        return self.meaning.infer_shape(node, shapes)


class TakeRows(OneDNNOp):
    """x[numbers], rows by their int64 numbers, in one threaded copy; x is float32 or uint8."""

    kind = "TakeRows"
    __props__ = ()

    def make_node(self, x, numbers):
        return Apply(self, [x, numbers], [tt.TensorType(x.dtype, numbers.broadcastable + x.broadcastable[1:])()])

    def settings(self, node):
        return (np.dtype(node.inputs[0].dtype).num,)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].take(inputs[1], axis=0)

    def infer_shape(self, node, shapes):
        return [shapes[1] + shapes[0][1:]]


class Uniform(OneDNNOp):
    """The numbers, and the states after them, of Theano's generator `mrg_uniform`, float32, in vector code."""

    kind = "Uniform"
    __props__ = ("broadcastable", "inplace")

    def __init__(self, broadcastable, inplace=False):
        self.broadcastable, self.inplace = tuple(broadcastable), inplace
        if inplace:
            self.destroy_map = {0: [0]}

    def make_node(self, states, shape):
        return Apply(self, [states, shape], [states.type(), tt.TensorType("float32", self.broadcastable)()])

    def settings(self, node):
        return (len(self.broadcastable), self.inplace)

    def perform(self, node, inputs, outputs):
        mrg_uniform(node.outputs[1].type, inplace=self.inplace).perform(node, inputs, outputs, None)

    def infer_shape(self, node, shapes):
        return [shapes[0], tuple(node.inputs[1][i] for i in range(len(self.broadcastable)))]


class OfPixels(OneDNNOp):
    """A `pixels.PixelOp`, in one threaded pass; with `last` the decoder's outputs are NHWC."""

    __props__ = ("meaning", "last")

    def __init__(self, meaning, last):
        self.meaning, self.last = meaning, last
        self.kind = type(meaning).__name__

    def make_node(self, x, of_decoder, *rest):
        return Apply(self, [x, of_decoder, *rest], self.meaning.types(x, of_decoder))

    def settings(self, node):
        return (*self.meaning.constants, self.last)

    def perform(self, node, inputs, outputs):
        x, of_decoder, *rest = inputs
        self.meaning.perform(node, [x, _nchw(of_decoder) if self.last else of_decoder, *rest], outputs)
        if self.last and rest:
            outputs[0][0] = _nhwc(outputs[0][0])

    def infer_shape(self, node, shapes):
        return self.meaning.infer_shape(node, shapes)


class ColumnSum(OneDNNOp):
    """The sum over all axes but the last."""

    kind = "ColumnSum"
    __props__ = ()

    def make_node(self, x):
        return Apply(self, [x], [tt.TensorType("float32", [x.broadcastable[-1]])()])

    def settings(self, node):
        return (node.inputs[0].ndim,)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].sum(tuple(range(inputs[0].ndim - 1)), dtype="float64").astype("float32")

    def infer_shape(self, node, shapes):
        return [(shapes[0][-1],)]


class Total(OneDNNOp):
    """The sum over all axes."""

    kind = "Total"
    __props__ = ()

    def make_node(self, x):
        return Apply(self, [x], [tt.fscalar()])

    def settings(self, node):
        return (node.inputs[0].ndim,)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.asarray(inputs[0].sum(dtype="float64"), "float32")

    def infer_shape(self, node, shapes):
        return [()]


class ReluGradient(OneDNNOp):
    """g where y > 0, else 0; in place of g where asked."""

    kind = "ReluGradient"
    __props__ = ("inplace",)

    def __init__(self, inplace=False):
        self.inplace = inplace
        if inplace:
            self.destroy_map = {0: [1]}

    def make_node(self, y, g):
        return Apply(self, [y, g], [g.type()])

    def settings(self, node):
        return (node.inputs[1].ndim, self.inplace)

    def perform(self, node, inputs, outputs):
        y, g = inputs
        outputs[0][0] = np.multiply(g, y > 0, out=g if self.inplace else None)

    def infer_shape(self, node, shapes):
        return [shapes[1]]


class Adam(CompiledAdam, OneDNNOp):
    """An `abstract.AdamStep` in one threaded pass."""

    def make_node(self, *inputs):
        return Apply(self, list(inputs), [inputs[i].type() for i in self.sources()])

    def perform(self, node, inputs, outputs):
        self.meaning.perform(node, inputs, outputs)
        if self.inplace:
            for cell, i in zip(outputs, self.sources()):
                inputs[i][...] = cell[0]
                cell[0] = inputs[i]
