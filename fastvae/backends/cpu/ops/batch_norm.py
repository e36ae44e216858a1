"""Batch normalisation, by the statistics of the batch or by given ones, and its gradient, in threaded passes.

Theano's own abstract Ops are lowered where the tensor can be read as a matrix whose columns are normalised: images
(N, C, H, W) along the axes (0, 2, 3) or (0,), which become NHWC, and other tensors along their first axes. What is
normalised along others stays stock.
"""

from __future__ import annotations

import numpy as np
import theano.tensor as tt
from theano.gof import Apply
from theano.tensor.nnet.bn import AbstractBatchNormInference, AbstractBatchNormTrain, AbstractBatchNormTrainGrad

from fastvae.backends.cpu.op import CpuOp, all_float32, lowers
from fastvae.backends.cpu.ops.layout import to_nchw, to_nhwc


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
        patterns = [[v.broadcastable[a] for a in found.order] for v in statistics]
        is_given = all(v.broadcastable[a] for v in statistics for a in axes)
        return found if is_given and all(all(p) or not any(p) for p in patterns) else None

    def arranged(self, x):
        return to_nhwc(x) if self.is_image else x

    def as_before(self, y):
        return to_nchw(y) if self.is_image else y

    def statistic(self, v):
        return v.dimshuffle(self.order)

    def statistic_as_before(self, v):
        return v.dimshuffle(self.back)


def _number(v):
    """A setting, such as epsilon, as a float32 scalar; None if it is a tensor."""
    return tt.cast(v, "float32") if v.ndim == 0 else None


class _BatchNorm(CpuOp):
    """Inputs x, other tensors like it, and statistics, which have the last axes of x; normalised along the others."""

    __props__ = ("inplace",)
    like_x = 1

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
        return (node.inputs[0].ndim, self.axes_of_statistics(node.inputs), self.inplace, sum(1 << i for i in shared))

    def infer_shape(self, node, shapes):
        x = shapes[0]
        return [x, *([x[len(x) - self.axes_of_statistics(node.inputs) :]] * (len(node.outputs) - 1))]

    def summed(self, inputs):
        return tuple(range(inputs[0].ndim - self.axes_of_statistics(inputs)))


@lowers(AbstractBatchNormTrain)
class BatchNormTrain(_BatchNorm):
    """Inputs x, scale, bias, epsilon, rate [, running mean, running variance] -> the normalised x, mean,
    1 / sqrt(variance + epsilon) [, new running mean, new running variance]."""

    overwrites = {0: 0}

    @classmethod
    def lower(cls, node):
        x, scale, bias, epsilon, rate, *running = node.inputs
        epsilon, rate = _number(epsilon), _number(rate)
        found = _Arrangement.of(x, node.op.axes, [scale, bias, *running])
        if found is None or epsilon is None or rate is None or not all_float32([x, scale, bias, *running]):
            return None
        given = [found.statistic(v) for v in (scale, bias, *running)]
        y, *statistics = cls()(found.arranged(x), *given[:2], epsilon, rate, *given[2:], return_list=True)
        return [found.as_before(y), *map(found.statistic_as_before, statistics)]

    def n_statistics(self, inputs):
        return len(inputs) - 3

    def perform(self, node, inputs, outputs):
        x, scale, bias, epsilon, rate, *running = (a.astype("float64") for a in inputs)
        axes, rows = self.summed(inputs), np.float64(x.size) / scale.size
        mean, variance = x.mean(axes), x.var(axes)
        inverse = 1 / np.sqrt(variance + epsilon)
        results = [(x - mean) * inverse * scale + bias, mean, inverse]
        if running:
            with np.errstate(all="ignore"):  # of one row
                now = (mean, variance * (rows / (rows - 1)))
            results += [old * (1 - rate) + new * rate for old, new in zip(running, now)]
        for cell, result in zip(outputs, results):
            cell[0] = result.astype("float32")


@lowers(AbstractBatchNormTrainGrad)
class BatchNormGradient(_BatchNorm):
    """Inputs x, gradient, scale, mean, 1 / sqrt(variance + epsilon) -> the gradients by x, scale and bias."""

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
        x, g, scale, mean, inverse = (a.astype("float64") for a in inputs)
        axes = self.summed(inputs)
        off = x - mean
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
        outputs[0][0] = ((x - mean) * factor + shift).astype("float32")
