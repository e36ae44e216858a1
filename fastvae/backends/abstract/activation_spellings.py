"""How users, Theano, Lasagne and Keras spell activations in stock Ops: `recognises` finds them before the gradient.

Examples
--------
>>> from fastvae.backends.rewrites.recognise import recognise
>>> x = tt.fvector("x")
>>> outputs, _ = recognise([tt.nnet.elu(x), tt.maximum(x, x / 4), x * tt.nnet.sigmoid(x)])
>>> [y.owner.op.scalar_op for y in outputs]
[Elu{alpha=1.0, scale=1.0}, LeakyRelu{alpha=0.25, at_zero=1.0, at_nan=0.25}, Swish{beta=1.0}]
"""

from __future__ import annotations

import math

import theano.tensor as tt
from theano import scalar
from theano.tensor.nnet.sigm import ScalarSigmoid

from fastvae.backends.abstract.activations import (
    Clip,
    Elu,
    Gelu,
    GeluTanh,
    LeakyRelu,
    ParametricRelu,
    SignedRelu,
    Swish,
)
from fastvae.backends.abstract.spellings import factors, inside, number, operands, recognises, scaled, terms

COMPARISONS = (scalar.GT, scalar.GE, scalar.LT, scalar.LE)


def _is(value, other):
    """Whether two numbers are equal but for what float32 rounds."""
    return abs(value - other) <= 4e-7 * max(1, abs(other))


def _alone(product):
    return product[0] if len(product) == 1 else None


def _applied(op, *inputs):
    return tt.Elemwise(op)(*inputs)


# ReLUs


@recognises(scalar.Add, scalar.Mul, scalar.TrueDiv)
def by_magnitude(node):
    """(1 + alpha) / 2 x + (1 - alpha) / 2 abs(x), with a number alpha, 0 too, or a variable: `tt.nnet.relu`."""
    y = node.outputs[0]
    for size in inside(y, scalar.Abs, depth=3):
        x = size.owner.inputs[0]
        constant, found = terms(y, x, size)
        if constant or len(found) != 2:
            continue
        slopes = {_alone(product): slope for slope, product in found}
        if slopes.keys() == {x, size} and _is(slopes[x] + slopes[size], 1):
            alpha = slopes[x] - slopes[size]
            if alpha == 0:
                return _applied(SignedRelu(0.5), x)
            return _applied(LeakyRelu(alpha, at_zero=slopes[x]), x) if alpha > 0 else None
        alpha = _halved(found, x, 1)
        if alpha is not None and alpha is _halved(found, size, -1):
            return _applied(ParametricRelu(mean_at_zero=True), x, alpha)
    return None


def _halved(found, factor, sign):
    """The variable alpha in the term (1 + sign alpha) / 2 factor of a sum."""
    for weight, product in found:
        rest = [v for v in product if v is not factor]
        if len(product) == 2 and len(rest) == 1:
            constant, alpha = terms(_scalar(rest[0]))
            if len(alpha) == 1 and weight * constant == 0.5 and weight * alpha[0][0] == 0.5 * sign:
                return _alone(alpha[0][1])
    return None


def _scalar(variable):
    """The scalar that a variable is everywhere, or else the variable."""
    node = variable.owner
    is_broadcast = node is not None and isinstance(node.op, tt.DimShuffle) and node.inputs[0].ndim == 0
    return node.inputs[0] if is_broadcast else variable


@recognises(scalar.Switch)
def by_sign(node):
    """switch(x > 0, x, alpha x) with a number or a variable alpha, or with the ELU's alpha (exp(x) - 1); or x < 0."""
    for x, above, below, zero_is_above, nan_is_above in _branches(node):
        slope, product = factors(above, x)
        if product != [x]:
            continue
        alpha, product = factors(below, x)
        if slope == 1 and product == [x] and alpha > 0:
            at_zero, at_nan = 1.0 if zero_is_above else alpha, 1.0 if nan_is_above else alpha
            return _applied(LeakyRelu(alpha, at_zero, at_nan), x)
        rest = [v for v in product if v is not x]
        if slope == alpha == 1 and len(product) == 2 and len(rest) == 1 and not zero_is_above:
            return _applied(ParametricRelu(), x, rest[0])
        lowest = _of_expm1(below, x)
        if slope > 0 and lowest is not None and lowest > 0 and (not zero_is_above or _is(lowest, slope)):
            return _applied(Elu(lowest / slope, slope), x)
    return None


def _branches(node):
    """Of a switch on a comparison with 0: x, what it is above and below, and on which side 0 and NaN are."""
    condition, yes, no = node.inputs
    if not operands(condition, *COMPARISONS):
        return
    kind, (left, right) = type(condition.owner.op.scalar_op), condition.owner.inputs
    for x, other, kinds in ((left, right, COMPARISONS), (right, left, COMPARISONS[2:] + COMPARISONS[:2])):
        if number(other) == 0:
            position = kinds.index(kind)
            above, below = (yes, no) if position < 2 else (no, yes)
            yield x, above, below, position in (1, 2), position > 1


def _of_expm1(expression, x):
    """The number c in c (exp(x) - 1), None for other expressions."""
    found = [v for v in inside(expression, scalar.Expm1, scalar.Exp) if v.owner.inputs[0] is x]
    if len(found) != 1:
        return None
    constant, products = terms(expression, *found)
    if len(products) != 1 or products[0][1] != found:
        return None
    of_exp = 0 if operands(found[0], scalar.Expm1) else -products[0][0]
    return products[0][0] if _is(constant, of_exp) else None


@recognises(scalar.Maximum)
def by_maximum(node):
    """maximum(x, 0) or maximum(x, alpha x) for alpha below 1; Theano gives the slope of the first at a tie."""
    for x, other, is_first in ((*node.inputs, True), (*node.inputs[::-1], False)):
        alpha, product = factors(other, x)
        if number(other) == 0:
            return _applied(SignedRelu(*((1.0, 0.0) if is_first else (0.0, 1.0))), x)
        if product == [x] and 0 < alpha < 1:
            return _applied(LeakyRelu(alpha, *((1.0, alpha) if is_first else (alpha, 1.0))), x)
    return None


@recognises(scalar.Sub, scalar.Add)
def of_two_relus(node):
    """relu(x) - alpha relu(-x), as Keras has it; or with relu(-x) as (abs(x) - x) / 2 where alpha is a variable."""
    y = node.outputs[0]
    relus = [v for v in inside(y, SignedRelu, depth=5) if v.owner.op.scalar_op == SignedRelu(0.5)]
    for relu in relus:
        x = relu.owner.inputs[0]
        other = [v for v in relus if v is not relu and scaled(v.owner.inputs[0]) == (-1.0, x)]
        constant, found = terms(y, relu, *other)
        weights = {_alone(product): weight for weight, product in found}
        if constant or len(found) != 2 or weights.get(relu) != 1:
            continue
        if other and other[0] in weights and weights[other[0]] < 0:
            alpha = -weights[other[0]]
            return _applied(LeakyRelu(alpha, 0.5 * (1 + alpha)), x)
        weight, product = next((weight, product) for weight, product in found if product != [relu])
        alpha = _variable_slope(weight, product, x, other)
        if alpha is not None:
            return _applied(ParametricRelu(mean_at_zero=True), x, alpha)
    return None


def _variable_slope(weight, product, x, negative):
    """alpha if weight times the product is alpha times min(x, 0), which `negative` has minus."""
    if len(product) != 2:
        return None
    for alpha, part in (product, product[::-1]):
        if negative and part is negative[0] and weight == -1:
            return alpha
        sizes = [v for v in inside(part, scalar.Abs, depth=2) if v.owner.inputs[0] is x]
        if sizes:
            constant, found = terms(part, x, *sizes)
            slopes = {_alone(each): weight * slope for slope, each in found}
            if constant == 0 and len(found) == 2 and slopes == {x: 0.5, sizes[0]: -0.5}:
                return alpha
    return None


@recognises(scalar.Mul, scalar.TrueDiv)
def scaled_elu(node):
    """A number above 0 times an ELU: `tt.nnet.selu`."""
    scale, product = factors(node.outputs[0], *inside(node.outputs[0], Elu, depth=2))
    inner = operands(_alone(product), Elu) if len(product) == 1 else []
    if not inner or scale <= 0:
        return None
    op = product[0].owner.op.scalar_op
    return _applied(Elu(op.alpha, scale * op.scale), *inner)


# x times a distribution function


@recognises(scalar.Mul, scalar.TrueDiv)
def gelu(node):
    """x (1 + erf(x / sqrt(2))) / 2, or its approximation by tanh."""
    y = node.outputs[0]
    for function in inside(y, scalar.Erf, scalar.Tanh, depth=5):
        argument = function.owner.inputs[0]
        if operands(function, scalar.Erf):
            factor, x = scaled(argument)
            if _is(factor, math.sqrt(0.5)) and _is_gate(y, x, function):
                return _applied(Gelu(), x)
        else:
            for x in _candidates(argument):
                if _is_gate(y, x, function) and _is_gelus_cubic(argument, x):
                    return _applied(GeluTanh(), x)
    return None


def _is_gate(y, x, function):
    """Whether y is x (1 + function) / 2."""
    weight, product = factors(y, x, function)
    rest = [v for v in product if v is not x]
    if len(product) != 2 or len(rest) != 1:
        return False
    constant, found = terms(rest[0], function)
    return (
        len(found) == 1 and found[0][1] == [function] and _is(weight * constant, 0.5) and _is(weight * found[0][0], 0.5)
    )


def _candidates(argument):
    """What an expression of element-wise Ops may be a polynomial of."""
    below = inside(argument, scalar.Add, scalar.Mul, scalar.Pow, scalar.Sqr, scalar.TrueDiv, depth=6)
    return dict.fromkeys(w for v in below for w in v.owner.inputs if number(w) is None)


def _is_gelus_cubic(argument, x):
    """Whether it is sqrt(2 / pi) (x + 0.044715 x^3)."""
    outer, product = factors(argument, x)
    constant, found = terms(argument, x)
    by_degree = {len(product): weight for weight, product in found if product == [x] * len(product)}
    if len(product) == 2 and x in product:  # x (1 + 0.044715 x^2)
        (inner,) = [v for v in product if v is not x] or [x]
        one, found = terms(inner, x)
        constant, by_degree = 0, {1: outer * one, **{1 + len(p): outer * w for w, p in found if p == [x] * len(p)}}
    root = math.sqrt(2 / math.pi)
    return (
        constant == 0 and by_degree.keys() == {1, 3} and _is(by_degree[1], root) and _is(by_degree[3], root * 0.044715)
    )


@recognises(scalar.Mul, scalar.TrueDiv)
def swish(node):
    """x sigmoid(beta x), or x / (1 + exp(-beta x)), for beta above 0."""
    y = node.outputs[0]
    for gate in inside(y, ScalarSigmoid, scalar.TrueDiv, depth=3):
        beta, x = _logistic_argument(gate)
        if beta <= 0:
            continue
        weight, product = factors(y, x, gate)
        is_quotient = gate is y and gate.owner.inputs[0] is x
        is_gate = operands(gate, ScalarSigmoid) or number(gate.owner.inputs[0]) == 1
        if is_quotient or (is_gate and weight == 1 and product in ([x, gate], [gate, x])):
            return _applied(Swish(beta), x)
    return None


def _logistic_argument(gate):
    """beta and x of sigmoid(beta x), or of anything / (1 + exp(-beta x)); beta is 0 for other expressions."""
    if operands(gate, ScalarSigmoid):
        return scaled(gate.owner.inputs[0])
    constant, found = terms(gate.owner.inputs[1])
    exp = _alone(found[0][1]) if len(found) == 1 and found[0][0] == constant == 1 else None
    if exp is None or not operands(exp, scalar.Exp):
        return 0.0, gate
    beta, x = scaled(exp.owner.inputs[0])
    return -beta, x


# Clip


@recognises(scalar.Clip)
def clip(node):
    """`tt.clip` between two numbers."""
    x, lower, upper = node.inputs
    bounds = number(lower), number(upper)
    return None if None in bounds else _applied(Clip(*bounds), x)


@recognises(scalar.Minimum)
def by_two_bounds(node):
    """minimum(maximum(x, lower), upper); a slope of 1 at the bounds needs x to come first, as here."""
    inner, upper = node.inputs[0], number(node.inputs[1])
    lower = number(inner.owner.inputs[1]) if operands(inner, scalar.Maximum) else None
    if operands(inner, SignedRelu) and inner.owner.op.scalar_op == SignedRelu(1.0, 0.0):
        lower = 0.0
    if lower is None or upper is None or not lower < upper:
        return None
    return _applied(Clip(lower, upper), inner.owner.inputs[0])
