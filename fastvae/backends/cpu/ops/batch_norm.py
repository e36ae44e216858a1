"""Batch normalisation, by the statistics of the batch or by given ones, and its gradient, in threaded passes.

Theano's own abstract Ops are lowered where the tensor can be read as a matrix whose columns are normalised: images
(N, C, H, W) along the axes (0, 2, 3) or (0,), which become NHWC, and other tensors along their first axes. What is
normalised along others stays stock.
"""

from __future__ import annotations

import numpy as np
import theano
import theano.tensor as tt
from theano import scalar
from theano.gof import Apply, local_optimizer
from theano.gof.graph import ancestors
from theano.tensor.nnet.bn import (
    AbstractBatchNormInference,
    AbstractBatchNormTrain,
    AbstractBatchNormTrainGrad,
    BNComposite,
)

from fastvae.backends.abstract import activations
from fastvae.backends.abstract.batch_norm import BatchNorm, averaged, variance
from fastvae.backends.cpu.op import CpuOp, all_float32, lowers
from fastvae.backends.cpu.ops.layout import to_nchw, to_nhwc
from fastvae.backends.rewrites import normalise


class _Arrangement:
    """How a tensor becomes one that is normalised along its first axes, and a statistic a tensor of the other axes."""

    def __init__(self, ndim, axes):
        self.is_image = ndim == 4 and axes in ((0,), (0, 2, 3))
        self.order = [a for a in ((0, 2, 3, 1) if self.is_image else range(ndim)) if a not in axes]
        self.back = [self.order.index(a) if a in self.order else "x" for a in range(ndim)]

    @classmethod
    def of(cls, x, axes, statistics):
        """That of a node's input and statistics, None if there is none."""
        axes = tuple(sorted(axes))
        if not (axes == (0, 2, 3) and x.ndim == 4 or axes == tuple(range(len(axes))) and len(axes) < x.ndim):
            return None
        found = cls(x.ndim, axes)
        patterns = [[v.broadcastable[a] for a in found.order if not x.broadcastable[a]] for v in statistics]
        is_given = all(v.broadcastable[a] for v in statistics for a in axes)
        return found if is_given and all(all(p) or not any(p) for p in patterns) else None

    def arranged(self, x):
        return to_nhwc(x) if self.is_image else x

    def as_before(self, y):
        return to_nchw(y) if self.is_image else y

    def statistic(self, v):
        node = v.owner
        if node and isinstance(node.op, tt.DimShuffle):  # it may have been one
            inner = node.inputs[0]
            if [node.op.new_order[a] for a in self.order] == list(range(inner.ndim)):
                return inner
        return v.dimshuffle(self.order)

    def statistic_as_before(self, v):
        return v.dimshuffle(self.back)


def _number(v):
    """A setting, such as epsilon, as a float32 scalar; None if it is a tensor."""
    return tt.cast(v, "float32") if v.ndim == 0 else None


def _value(expression):
    return theano.function([], expression, mode=theano.Mode("py", None))()


class _BatchNorm(CpuOp):
    """Inputs x, other tensors like it, and statistics, which have the last axes of x; normalised along the others."""

    part = "batch_norm"

    __props__ = ("activation", "inplace")
    like_x = 1

    def __init__(self, activation=None):
        self.activation = activation  # a scalar Op of `activations.KINDS`

    def with_activation(self, activation):
        """The same Op with this activation."""
        return type(self)(activation)

    def make_node(self, *inputs):
        x = inputs[0]
        statistic = tt.TensorType("float32", [False] * self.axes_of_statistics(inputs))
        return Apply(self, inputs, [x.type(), *(statistic() for _ in range(self.n_statistics(inputs)))])

    def axes_of_statistics(self, inputs):
        return inputs[self.like_x].ndim

    def n_statistics(self, inputs):
        return 0

    def settings(self, node):
        shared = [i for i, v in enumerate(node.inputs) if v.ndim and all(v.broadcastable)]
        activation = activations.settings(self.activation) if self.activation else (0, 0, 0, 0)
        axes = self.axes_of_statistics(node.inputs)
        return (node.inputs[0].ndim, axes, self.inplace, sum(1 << i for i in shared), *activation)

    def activated(self, y):
        """The activation of a float64 array."""
        return _value(tt.Elemwise(self.activation)(tt.constant(y))) if self.activation else y

    def infer_shape(self, node, shapes):
        x = shapes[0]
        return [x, *([x[len(x) - self.axes_of_statistics(node.inputs) :]] * (len(node.outputs) - 1))]

    def summed(self, inputs):
        return tuple(range(inputs[0].ndim - self.axes_of_statistics(inputs)))


@lowers(AbstractBatchNormTrain, BatchNorm)
class BatchNormTrain(_BatchNorm):
    """Inputs x, scale, bias, epsilon [, rate, running mean, running variance] -> the normalised x, mean,
    1 / sqrt(variance + epsilon), variance, shift [, new running mean, new running variance].

    The shift is the bias and what is lost by rounding the mean, times the factor: the gradient of an activation needs
    the normalised x as it was.
    """

    overwrites = {0: 0}

    @classmethod
    def lower(cls, node):
        x, scale, bias, epsilon, *rate_and_running = node.inputs
        rate, running = rate_and_running[:1], rate_and_running[1:]
        found = _Arrangement.of(x, node.op.axes, [scale, bias, *running])
        numbers = [_number(v) for v in (epsilon, *rate)]
        if found is None or None in numbers or not all_float32([x, scale, bias, *running]):
            return None
        given = [found.statistic(v) for v in (scale, bias, *running)]
        if running:
            given[2:2] = numbers
        else:
            given.append(numbers[0])
        y, mean, inverse, variance, _, *new = cls()(found.arranged(x), *given, return_list=True)
        statistics = (mean, inverse, variance) if isinstance(node.op, BatchNorm) else (mean, inverse, *new)
        return [found.as_before(y), *map(found.statistic_as_before, statistics)]

    def n_statistics(self, inputs):
        return 6 if len(inputs) > 4 else 4

    def perform(self, node, inputs, outputs):
        x, scale, bias, epsilon, *rate_and_running = (a.astype("float64") for a in inputs)
        axes, rows = self.summed(inputs), np.float64(x.size) / scale.size
        mean, variance = x.mean(axes), x.var(axes)
        inverse = 1 / np.sqrt(variance + epsilon)
        y = self.activated((x - mean) * inverse * scale + bias)
        results = [y, mean, inverse, variance, bias - (mean - mean.astype("float32")) * scale * inverse]
        if rate_and_running:
            rate, *running = rate_and_running
            with np.errstate(all="ignore"):  # of one row
                unbiased = variance * (rows / (rows - 1))
            results += [old * (1 - rate) + new * rate for old, new in zip(running, (mean, unbiased))]
        for cell, result in zip(outputs, results):
            cell[0] = result.astype("float32")


@lowers(AbstractBatchNormTrainGrad)
class BatchNormGradient(_BatchNorm):
    """Inputs x, gradient, scale, mean, 1 / sqrt(variance + epsilon) [, shift, with an activation] -> the gradients by
    x, scale and bias."""

    overwrites = {0: 1}
    like_x = 2

    @classmethod
    def lower(cls, node):
        x, g, *statistics, _ = node.inputs
        found = _Arrangement.of(x, node.op.axes, statistics)
        if found is None or x.broadcastable != g.broadcastable or not all_float32([x, g, *statistics]):
            return None
        arranged = found.arranged(x), found.arranged(g), *map(found.statistic, statistics)
        by_x, *rest = cls()(*arranged, return_list=True)
        return [found.as_before(by_x), *map(found.statistic_as_before, rest)]

    def n_statistics(self, inputs):
        return 2

    def perform(self, node, inputs, outputs):
        x, g, scale, mean, inverse, *shift = (a.astype("float64") for a in inputs)
        axes = self.summed(inputs)
        off = x - mean
        if shift:
            y = off * inverse * scale + shift[0]
            variable = tt.constant(y)
            g = g * _value(tt.grad(tt.Elemwise(self.activation)(variable).sum(), variable))
        change = g * inverse - off * ((g * off).mean(axes) * inverse**3)
        results = [scale * (change - change.mean(axes)), (g * off).sum(axes) * inverse, g.sum(axes)]
        for cell, result in zip(outputs, results):
            cell[0] = result.astype("float32")


@lowers(AbstractBatchNormInference)
class BatchNormInference(_BatchNorm):
    """Inputs x, mean, factor, shift -> (x - mean) factor + shift."""

    overwrites = {0: 0}

    @classmethod
    def lower(cls, node):
        x, scale, bias, mean, variance, epsilon = node.inputs
        epsilon = _number(epsilon)
        found = _Arrangement.of(x, node.op.axes, [scale, bias, mean, variance])
        if found is None or epsilon is None or not all_float32(node.inputs[:-1]):
            return None
        scale, bias, mean, variance = map(found.statistic, (scale, bias, mean, variance))
        factor = scale / tt.sqrt(variance + epsilon)
        return [found.as_before(cls()(found.arranged(x), mean, factor, bias))]

    def perform(self, node, inputs, outputs):
        x, mean, factor, shift = (a.astype("float64") for a in inputs)
        outputs[0][0] = self.activated((x - mean) * factor + shift).astype("float32")


@lowers(tt.Elemwise)
def lower_by_deviation(node):
    """`theano.tensor.nnet.bn.batch_normalization` in its mode "low_mem" by given means and deviations."""
    if not isinstance(node.op.scalar_op, BNComposite) or not all_float32(node.inputs):
        return None
    x, *statistics = node.inputs
    axes = tuple(a for a in range(x.ndim) if all(v.broadcastable[a] for v in statistics))
    found = _Arrangement.of(x, axes, statistics) if axes else None
    if found is None:
        return None
    mean, deviation, scale, bias = map(found.statistic, statistics)
    return [found.as_before(BatchNormInference()(found.arranged(x), mean, scale / deviation, bias))]


@lowers(tt.Elemwise, stage="lift")
def take_statistics(node):
    """The mean or variance of what a `BatchNorm` normalises, as for moving averages -> the one that it has."""
    if len(node.outputs) != 1 or not isinstance(node.op.scalar_op, (scalar.TrueDiv, scalar.Sub)):
        return None
    (y,) = node.outputs
    for place, found in ((1, averaged(y)), (3, variance(y))):
        x, axes = found or (None, ())
        for client, _ in getattr(x, "clients", ()):
            if client != "output" and isinstance(client.op, BatchNorm) and client.op.axes == axes:
                if y in ancestors(client.inputs[1:], blockers=[x]):  # its scale is made of it
                    continue
                value, kept = client.outputs[place], [a for a in range(x.ndim) if a not in axes]
                return [value if y.ndim == x.ndim else value.dimshuffle(kept)]
    return None


@local_optimizer([tt.Elemwise])
def local_fuse_activation(node):
    """act(batch normalisation) -> a batch normalisation with that activation, and likewise in the gradient."""
    return normalise.fused_activation(node, (BatchNormTrain, BatchNormInference), BatchNormGradient)
