"""Batch normalisation by the statistics of the batch (Ioffe and Szegedy, 2015, arXiv:1502.03167, algorithm 1), and how
people spell it without Theano's own Op.

    BatchNorm       y = (x - mean) / sqrt(variance + epsilon) scale + bias, and the statistics

Examples
--------
>>> x = tt.constant(np.float32([[1, 2], [3, 6]]))
>>> y, mean, inverse, variance = BatchNorm((0,))(x, np.ones((1, 2), "float32"), np.zeros((1, 2), "float32"), 0)
>>> y.eval().tolist(), mean.eval().tolist(), variance.eval().tolist()
([[-1.0, -1.0], [1.0, 1.0]], [[2.0, 4.0]], [[1.0, 4.0]])
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import theano.tensor as tt
from theano import Constant, scalar
from theano.compile.ops import Rebroadcast, Shape
from theano.gof import Apply
from theano.gradient import DisconnectedType
from theano.tensor.nnet.bn import AbstractBatchNormTrain, AbstractBatchNormTrainGrad, BNComposite
from theano.tensor.subtensor import Subtensor, get_idx_list

from fastvae.backends.abstract.op import AbstractOp
from fastvae.backends.abstract.spellings import factors, number, operands, recognises


class BatchNorm(AbstractOp):
    """Inputs x, scale, bias, epsilon -> y, mean, 1 / sqrt(variance + epsilon), variance.

    Scale, bias and the statistics have length 1 along `axes`, those that are averaged over. Theano's
    `AbstractBatchNormTrain` has the first three outputs too, but no gradient of the statistics.
    """

    __props__ = ("axes",)

    def __init__(self, axes):
        self.axes = tuple(axes)

    def make_node(self, x, scale, bias, epsilon):
        x, scale, bias, epsilon = map(tt.as_tensor_variable, (x, scale, bias, epsilon))
        return Apply(self, [x, scale, bias, tt.cast(epsilon, x.dtype)], [x.type(), *(scale.type() for _ in range(3))])

    def perform(self, node, inputs, outputs):
        x, scale, bias, epsilon = (a.astype("float64") for a in inputs)
        mean, variance = x.mean(self.axes, keepdims=True), x.var(self.axes, keepdims=True)
        inverse = 1 / np.sqrt(variance + epsilon)
        for cell, result in zip(outputs, ((x - mean) * inverse * scale + bias, mean, inverse, variance)):
            cell[0] = result.astype(inputs[0].dtype)

    def stock(self, x, scale, bias, epsilon):
        y, mean, inverse = AbstractBatchNormTrain(self.axes)(x, scale, bias, epsilon)
        return [y, mean, inverse, x.var(self.axes, keepdims=True)]

    def L_op(self, inputs, outputs, gradients):
        x, scale, _, epsilon = inputs
        _, mean, inverse, _ = outputs
        connected = [not isinstance(g.type, DisconnectedType) for g in gradients]
        g, by_mean, by_inverse, by_variance = (
            g if given else v.zeros_like() for v, g, given in zip(outputs, gradients, connected)
        )
        by_x, *others = AbstractBatchNormTrainGrad(self.axes)(x, g, scale, mean, inverse, epsilon)
        if any(connected[1:]):
            rows = tt.cast(tt.prod([x.shape[a] for a in self.axes]), x.dtype)
            by_variance -= by_inverse * inverse * tt.sqr(inverse) / np.array(2, x.dtype)
            by_x += (by_mean + np.array(2, x.dtype) * by_variance * (x - mean)) / rows
        return [by_x, *(v if connected[0] else DisconnectedType()() for v in others), DisconnectedType()()]

    def connection_pattern(self, node):
        return [[True] * 4, [True, False, False, False], [True, False, False, False], [False] * 4]

    def infer_shape(self, node, shapes):
        return [shapes[0], *([shapes[1]] * 3)]


def _inside(variable):
    """What a statistic was before axes of length 1 were put between its own."""
    while variable.owner and isinstance(variable.owner.op, (tt.DimShuffle, tt.Reshape, Rebroadcast)):
        inner = variable.owner.inputs[0]
        if isinstance(variable.owner.op, tt.DimShuffle):
            is_inside = variable.owner.op.shuffle == sorted(variable.owner.op.shuffle)
        else:
            is_inside = variable.ndim == inner.ndim or variable.broadcastable.count(False) == inner.ndim
        if not is_inside:
            break
        variable = inner
    return variable


def _sizes(variable, like):
    """The axes of `like` whose lengths are multiplied in the variable, None if it is anything else."""
    variable = _inside(variable)
    inputs = operands(variable, scalar.Mul, scalar.Cast)
    if inputs:
        found = [_sizes(v, like) for v in inputs]
        return None if None in found else [a for axes in found for a in axes]
    node = variable.owner
    if node is None or not isinstance(node.op, Subtensor):
        return None
    axis = get_idx_list(node.inputs, node.op.idx_list)[0]
    shape = (operands(node.inputs[0], scalar.Cast) or [node.inputs[0]])[0].owner
    if not isinstance(axis, Constant) or shape is None or not isinstance(shape.op, Shape):
        return None
    return [int(axis.data) % like.ndim] if shape.inputs[0] in (like, *operands(like, scalar.ScalarOp)) else None


def _statistic_of_own(variable, output):
    """(x, axes) if the variable is that output of a `BatchNorm`, else None."""
    node = variable.owner
    is_own = node is not None and isinstance(node.op, BatchNorm) and variable is node.outputs[output]
    return (node.inputs[0], node.op.axes) if is_own else None


def averaged(variable: Any) -> tuple[Any, tuple[int, ...]] | None:
    """(x, axes) if the variable is the mean of x over these axes, but not over all; with axes kept or without.

    Examples
    --------
    >>> x = tt.ftensor4("x")
    >>> averaged(x.mean((0, 2, 3), keepdims=True)), averaged(x.max((0, 2, 3)))
    ((x, (0, 2, 3)), None)
    """
    divisors, variable = [], _inside(variable)
    of_own = _statistic_of_own(variable, 1)
    if of_own is not None:
        return of_own
    while operands(variable, scalar.TrueDiv):
        variable, divisor = operands(variable, scalar.TrueDiv)
        divisors.append(divisor)
        variable = _inside(variable)
    node = variable.owner
    if node is None or not isinstance(node.op, tt.elemwise.Sum) or node.op.axis is None:
        return None
    (x,), axes = node.inputs, tuple(sorted(node.op.axis))
    sizes = [_sizes(v, x) for v in divisors]
    if None in sizes or tuple(sorted(a for found in sizes for a in found)) != axes or len(axes) == x.ndim:
        return None
    return x, axes


def variance(variable: Any) -> tuple[Any, tuple[int, ...]] | None:
    """(x, axes) if the variable is the variance of x over these axes, as `x.var` or spelled by its definition.

    Examples
    --------
    >>> x = tt.fmatrix("x")
    >>> variance(x.var(0)), variance(tt.mean(x**2, axis=0)), variance(x.var(0, ddof=1))
    ((x, (0,)), None, None)
    """
    variable = _inside(variable)
    of_own = _statistic_of_own(variable, 3)
    if of_own is not None:
        return of_own
    found = averaged(variable)
    if found is not None:
        weight, product = factors(found[0])
        if weight != 1 or len(product) != 2 or product[0] is not product[1]:
            return None
        centred = _centred(product[0])
        return centred[:2] if centred and centred[1] == found[1] else None
    for squares, square in [operands(variable, scalar.Sub)] if operands(variable, scalar.Sub) else []:
        of_squares, (weight, means) = averaged(squares), factors(_inside(square))
        if of_squares is None or weight != 1 or len(means) != 2 or means[0] is not means[1]:
            return None
        of_x = averaged(means[0])
        return of_x if of_x and of_x[1] == of_squares[1] and factors(of_squares[0]) == (1, [of_x[0]] * 2) else None
    return None


def _without_zeros(variable):
    """A statistic, and what is added to it zero times.

    That is how Lasagne has the shared variables of its moving averages in the graph.
    """
    terms = [_inside(v) for v in operands(_inside(variable), scalar.Add)]
    zeros = [v for v in terms if factors(v)[0] == 0]
    rest = [v for v in terms if v not in zeros]
    return (rest[0], zeros) if zeros and len(rest) == 1 else (_inside(variable), [])


def _centred(variable):
    """(x, axes, what is added zero times) if the variable is x less its mean over these axes, else None."""
    difference = operands(variable, scalar.Sub)
    if not difference:
        return None
    mean, zeros = _without_zeros(difference[1])
    found = averaged(mean)
    return (*found, zeros) if found and found[0] is difference[0] else None


def _power(variable):
    """A statistic as (a, n), which stands for a ** n."""
    variable = _inside(variable)
    for kind, exponent in ((scalar.Sqrt, 0.5), (scalar.Inv, -1), (scalar.Pow, None)):
        inputs = operands(variable, kind)
        if inputs:
            exponent = number(inputs[1]) if exponent is None else exponent
            inner, of_inner = _power(inputs[0])
            return (variable, 1) if exponent is None else (inner, of_inner * exponent)
    return variable, 1


def _deviation(variable, power):
    """(x, axes, epsilon, what is added zero times) if this power of the variable is 1 / sqrt(variance + epsilon)."""
    core, zeros = _without_zeros(variable)
    inner, exponent = _power(core)
    if exponent * power != -0.5 or zeros and power < 0:
        return None
    terms = [_inside(v) for v in operands(inner, scalar.Add)]
    numbers = [number(v) for v in terms]
    found = [variance(v) for v, value in zip(terms, numbers) if value is None]
    epsilon = sum(value for value in numbers if value is not None)
    return (*found[0], epsilon, zeros) if len(found) == 1 and found[0] and epsilon > 0 else None


def _quotient(variable):
    """An expression as a product of (factor, 1 or -1), however it is nested; factors have its number of axes."""
    node = variable.owner
    if node is not None and isinstance(node.op, tt.DimShuffle) and "x" in node.op.new_order:
        inner = _quotient(node.inputs[0])
        return [(v.dimshuffle(node.op.new_order), power) for v, power in inner] if len(inner) > 1 else [(variable, 1)]
    inputs = operands(variable, scalar.Mul, scalar.TrueDiv, scalar.Inv)
    if not inputs:
        return [(variable, 1)]
    signs = {scalar.TrueDiv: (1, -1), scalar.Inv: (-1,)}.get(type(node.op.scalar_op), [1] * len(inputs))
    return [(v, power * sign) for sign, each in zip(signs, inputs) for v, power in _quotient(each)]


def _product(parts):
    """The product of (factor, 1 or -1), None of nothing."""
    above, below = ([v for v, power in parts if power == sign] for sign in (1, -1))
    numerator = reduce(tt.mul, above) if above else None
    return reduce(tt.true_div, below, np.float32(1) if numerator is None else numerator) if below else numerator


def _is_statistic(v, axes):
    """Whether a tensor has length 1 along the axes."""
    return all(v.broadcastable[a] for a in axes)


def _filled(x, axes, value):
    """A number for each statistic of x."""
    return tt.alloc(np.array(value, x.dtype), *(1 if a in axes else x.shape[a] for a in range(x.ndim)))


def _is_filled(v, value):
    return v.owner is not None and isinstance(v.owner.op, tt.Alloc) and number(v.owner.inputs[0]) == value


def _is_zero(bias):
    """Whether a bias is nothing but zeros and what is added zero times."""
    terms = operands(_inside(bias), scalar.Add)
    return all(_is_zero(v) for v in terms) if terms else _is_filled(bias, 0) or factors(_inside(bias))[0] == 0


def _normalised(x, axes, epsilon, scale=None, bias=None):
    """y of a `BatchNorm` with this scale and bias, as far as there are any, None where these are no statistics."""
    given = []
    for v, neutral in ((scale, 1), (bias, 0)):
        of_all = _filled(x, axes, neutral)
        if v is None:
            v = of_all
        elif v.broadcastable != of_all.broadcastable:
            v = v * of_all if neutral else v + of_all
        if v.type != of_all.type:
            return None
        given.append(v)
    return BatchNorm(axes)(x, *given, np.array(epsilon, x.dtype))[0]


@recognises(scalar.Mul, scalar.TrueDiv)
def batch_norm(node):
    """(x - x.mean(axes)) / sqrt(x.var(axes) + epsilon), times anything, in any order."""
    (y,) = node.outputs
    parts = _quotient(y) if y.ndim in (2, 4) else []
    for centred, deviation in ((a, b) for a in parts for b in parts if a is not b and a[1] == 1):
        of_x = _centred(centred[0])
        spread = of_x and _deviation(*deviation)
        if not spread or spread[0] is not of_x[0] or spread[1] != of_x[1] or 0 not in spread[1]:
            continue
        x, axes, epsilon, zeros = spread
        rest = [part for part in parts if part is not centred and part is not deviation]
        scale = _product([part for part in rest if _is_statistic(part[0], axes)])
        bias = [v if v.ndim == x.ndim else v.dimshuffle(_kept(x, axes)) for v in (*of_x[2], *zeros)]
        new = _normalised(x, axes, epsilon, scale, reduce(tt.add, bias) if bias else None)
        others = [part for part in rest if not _is_statistic(part[0], axes)]
        return None if new is None else _product([(new, 1), *others])
    return None


def _kept(x, axes):
    """The order that puts axes of length 1 between those of a statistic."""
    kept = iter(range(x.ndim))
    return ["x" if a in axes else next(kept) for a in range(x.ndim)]


@recognises(BNComposite)
def batch_norm_of_theano(node):
    """`theano.tensor.nnet.bn.batch_normalization` in its mode "low_mem", by the batch's own mean and deviation."""
    x, mean, deviation, scale, bias = node.inputs
    spread = _deviation(deviation, -1)
    if not spread or averaged(mean) != spread[:2] or spread[0] is not x or 0 not in spread[1]:
        return None
    if not all(_is_statistic(v, spread[1]) for v in (scale, bias)):
        return None
    return _normalised(*spread[:3], scale, bias)


def _own(variable):
    """The inputs and axes of the `BatchNorm` whose result the variable is, None if it is not."""
    return (*variable.owner.inputs, variable.owner.op.axes) if _statistic_of_own(variable, 0) else None


# A number is left where it is: activations such as `tt.nnet.relu(y, alpha)` are spelled with multiples of y.
@recognises(scalar.Mul, scalar.TrueDiv)
def scale_of_batch_norm(node):
    """A `BatchNorm` that has neither scale nor bias, times statistics -> one with that scale."""
    signs = (1, -1) if isinstance(node.op.scalar_op, scalar.TrueDiv) else (1,) * len(node.inputs)
    for i, y in enumerate(node.inputs):
        own = _own(y)
        if own is None or signs[i] < 0 or not _is_filled(own[1], 1) or not _is_zero(own[2]):
            continue
        x, _, zeros, epsilon, axes = own
        rest = [(v, sign) for j, (v, sign) in enumerate(zip(node.inputs, signs)) if j != i]
        scale = _product([part for part in rest if _is_statistic(part[0], axes)])
        if scale is not None and number(scale) is None:
            new = _normalised(x, axes, number(epsilon), scale, zeros)
            others = [part for part in rest if not _is_statistic(part[0], axes)]
            return None if new is None else _product([(new, 1), *others])
    return None


@recognises(scalar.Add, scalar.Sub)
def bias_of_batch_norm(node):
    """A `BatchNorm` without bias, plus or minus statistics -> one with that bias."""
    is_sum = isinstance(node.op.scalar_op, scalar.Add)
    for y in node.inputs if is_sum else node.inputs[:1]:
        own = _own(y)
        if own is None or not _is_zero(own[2]):
            continue
        x, scale, zeros, epsilon, axes = own
        others = [v for v in node.inputs if v is not y]
        statistics = [v for v in others if _is_statistic(v, axes)]
        bias = reduce(tt.add, statistics) if statistics else None
        if bias is not None and number(bias) is None and (is_sum or len(statistics) == len(others)):
            bias = bias if is_sum else -bias
            new = _normalised(x, axes, number(epsilon), scale, bias if _is_filled(zeros, 0) else bias + zeros)
            return None if new is None else reduce(tt.add, (v for v in others if v not in statistics), new)
    return None
