"""Batch normalisation by the statistics of the batch on the GPU, and its gradient, one launch each.

Kernels of our own: cuDNN returns no variance, takes no activation behind it in float32, and is not there under OpenCL.
Normalisation by given statistics is Theano's element-wise expression, one launch.
"""

from __future__ import annotations

import theano.tensor as tt
from theano.gof import Apply, Op, local_optimizer
from theano.tensor.nnet.bn import AbstractBatchNormTrain, AbstractBatchNormTrainGrad

from fastvae.backends.abstract import activations
from fastvae.backends.abstract.batch_norm import BatchNorm
from fastvae.backends.gpu.op import Deferred, OnDevice, all_float32, lowers
from fastvae.backends.rewrites import normalise

MAX_AXES = 8  # of c_code/batch_norm.c


class _Normalisation(Op):
    """What is normalised over `axes`; the others are side by side."""

    __props__ = ("axes", "activation")

    def __init__(self, axes, activation=None):
        self.axes, self.activation = tuple(axes), activation  # the latter a scalar Op of `activations.KINDS`

    def __repr__(self):
        return str(self)

    def with_activation(self, activation):
        """The same Op with this activation."""
        return type(self)(self.axes, activation)


class Train(_Normalisation):
    """Inputs x, scale, bias, epsilon [, rate, running mean, running variance] -> y, mean, 1 / sqrt(variance + epsilon),
    variance, shift [, new running mean, new running variance]."""

    def make_node(self, x, scale, *rest):
        return Apply(self, [x, scale, *rest], [x.type(), *(scale.type() for _ in range(6 if len(rest) > 2 else 4))])

    def infer_shape(self, node, shapes):
        return [shapes[0], *[shapes[1]] * (len(node.outputs) - 1)]


class Gradient(_Normalisation):
    """Inputs x, gradient, scale, mean, 1 / sqrt(variance + epsilon) [, shift, with an activation] -> the gradients by
    x, scale and bias."""

    def make_node(self, x, g, scale, *rest):
        return Apply(self, [x, g, scale, *rest], [x.type(), scale.type(), scale.type()])

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[2], shapes[2]]


class _OnStatistics(OnDevice):
    """A `_Normalisation` on the GPU."""

    @staticmethod
    def takes(x, axes, statistics):
        """Whether the C code takes such statistics: the axes that are kept are side by side."""
        kept = [a for a in range(x.ndim) if a not in axes]
        side_by_side = kept == list(range(kept[0], kept[-1] + 1)) if kept else True
        given = all(v.broadcastable[a] for v in statistics for a in axes)
        whole = all(x.broadcastable[a] or not v.broadcastable[a] for v in statistics for a in kept)
        return x.ndim <= MAX_AXES and side_by_side and given and whole and all_float32([x, *statistics])

    def settings(self, node):
        op, ndim = self.abstract_op, node.inputs[0].ndim
        kept = [a for a in range(ndim) if a not in op.axes] or [ndim]
        first, end = kept[0], min(kept[-1] + 1, ndim)
        return (first, end, *activations.settings(op.activation))


@lowers(AbstractBatchNormTrain, BatchNorm, Train)
class BatchNormTrain(_OnStatistics):
    """A `Train` on the GPU."""

    @classmethod
    def defer(cls, node):
        x, scale, bias, epsilon, *rest = node.inputs
        rate, running = rest[:1], rest[1:]
        if not cls.takes(x, node.op.axes, [scale, bias, *running]) or any(v.ndim for v in (epsilon, *rate)):
            return None
        numbers = [tt.cast(v, "float32") for v in ((epsilon, *rate) if running else (epsilon,))]
        y, mean, inverse, variance, _, *new = Deferred(Train(node.op.axes))(x, scale, bias, *numbers, *running)
        return [y, mean, inverse, variance] if isinstance(node.op, BatchNorm) else [y, mean, inverse, *new]


@lowers(AbstractBatchNormTrainGrad, Gradient)
class BatchNormGradient(_OnStatistics):
    """A `Gradient` on the GPU."""

    @classmethod
    def defer(cls, node):
        x, g, *statistics, _ = node.inputs
        if not cls.takes(x, node.op.axes, statistics) or g.dtype != "float32" or g.broadcastable != x.broadcastable:
            return None
        return Deferred(Gradient(node.op.axes))(x, g, *statistics, return_list=True)


def _described(node):
    return node.op.abstract_op if isinstance(node.op, Deferred) else None


def _deferred(op, inputs):
    return Deferred(op)(*inputs, return_list=True)


@local_optimizer([tt.Elemwise])
def local_fuse_activation(node):
    """act(batch normalisation) -> a batch normalisation with that activation, and likewise in the gradient."""
    return normalise.fused_activation(node, Train, Gradient, _described, _deferred)
