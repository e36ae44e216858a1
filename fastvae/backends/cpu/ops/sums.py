"""Sums, maxima and minima over any axes."""

import numpy as np
import theano.tensor as tt
from theano import scalar
from theano.gof import Apply

from fastvae.backends.cpu.op import CpuOp, lowers

COMBINATIONS = {"sum": (scalar.Add, np.sum), "maximum": (scalar.Maximum, np.max), "minimum": (scalar.Minimum, np.min)}
MAX_AXES = 8


class ColumnSum(CpuOp):
    """The sum over all axes but the last."""

    __props__ = ()

    def make_node(self, x):
        return Apply(self, [x], [tt.TensorType("float32", [x.broadcastable[-1]])()])

    def settings(self, node):
        return (node.inputs[0].ndim,)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].sum(tuple(range(inputs[0].ndim - 1)), dtype="float64").astype("float32")

    def infer_shape(self, node, shapes):
        return [(shapes[0][-1],)]


@lowers(tt.elemwise.Sum, stage="passes")
class Total(CpuOp):
    """The sum over all axes."""

    __props__ = ()

    @classmethod
    def lower(cls, node):
        (x,) = node.inputs
        return [cls()(x)] if x.dtype == "float32" and x.ndim > 1 and node.outputs[0].ndim == 0 else None

    def make_node(self, x):
        return Apply(self, [x], [tt.fscalar()])

    def settings(self, node):
        return (node.inputs[0].ndim,)

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.asarray(inputs[0].sum(dtype="float64"), "float32")

    def infer_shape(self, node, shapes):
        return [()]


@lowers(tt.elemwise.CAReduce, stage="vectorize")
class Reduction(CpuOp):
    """The sum, maximum or minimum over some axes, which go."""

    __props__ = ("how", "axes")

    def __init__(self, how, axes):
        self.how, self.axes = how, tuple(axes)

    @property
    def kind(self):
        return "Reduction" if self.how == "sum" else "Extremum"

    @classmethod
    def lower(cls, node):
        (x,), (out,) = node.inputs, node.outputs
        names = [name for name, (kind, _) in COMBINATIONS.items() if type(node.op.scalar_op) is kind]
        if not names or {x.dtype, out.dtype} != {"float32"} or not 1 <= x.ndim <= MAX_AXES:
            return None
        axes = range(x.ndim) if node.op.axis is None else node.op.axis
        return [cls(names[0], sorted(axes))(x)] if axes else None

    def make_node(self, x):
        pattern = [b for i, b in enumerate(x.broadcastable) if i not in self.axes]
        return Apply(self, [x], [tt.TensorType("float32", pattern)()])

    def settings(self, node):
        ndim = node.inputs[0].ndim
        reduced = [i in self.axes for i in range(MAX_AXES)]
        return (list(COMBINATIONS).index(self.how), ndim, *reduced)

    def perform(self, node, inputs, outputs):
        (x,), combine = inputs, COMBINATIONS[self.how][1]
        outputs[0][0] = np.asarray(combine(x.astype("float64"), axis=self.axes), "float32")

    def infer_shape(self, node, shapes):
        return [tuple(length for i, length in enumerate(shapes[0]) if i not in self.axes)]
