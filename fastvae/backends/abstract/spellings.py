"""How users spell what an abstract Op computes: each Op's file declares its patterns, and these are the words for them.

    recognises           decorator of a pattern: a function of a node that finds a spelling ending there
    operands             the inputs of an element-wise Op of one kind
    number               the value of a constant expression
    inside               what an expression has of some kinds of Ops
    scaled               an expression without the number that multiplies it
    factors, terms       a product or a sum, however it is nested

`fastvae.backends.rewrites.recognise` applies them, and says what a pattern may return. Every module of this folder is
searched: a new pattern needs no entry in a list.

Examples
--------
A pattern for ``x * x``, which looks at multiplications alone:

>>> import theano.tensor as tt
>>> def square(node):
...     x, *rest = node.inputs
...     return tt.sqr(x) if rest == [x] else None
>>> x = tt.fvector("x")
>>> square((x * x).owner), square((x * 2).owner)
(Elemwise{sqr,no_inplace}.0, None)

It is declared by ``@recognises(scalar.Mul)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import theano.tensor as tt
from theano import scalar

from fastvae.backends.compiled_op import Lowerings

LARGEST = 4096  # elements of a constant that is looked at: more are data

_DECLARED = Lowerings()


def recognises(*kinds: type) -> Callable[[Any], Any]:
    """Declare a pattern that ends in one of these Ops.

    Parameters
    ----------
    *kinds : subclasses of theano.gof.Op or theano.scalar.ScalarOp
        The Op that computes the pattern's result; a scalar one stands for `Elemwise` of it.

    Returns
    -------
    callable
        The decorator of a function of a node, see `fastvae.backends.rewrites.recognise`.
    """
    return _DECLARED(*kinds)


def patterns(op: Any) -> Iterator[Callable[[Any], Any]]:
    """The patterns that end in an Op."""
    yield from _DECLARED.rules(op)
    if isinstance(op, tt.Elemwise):
        yield from _DECLARED.rules(op.scalar_op)


def operands(variable: Any, *kinds: type) -> list:
    """The inputs of the element-wise Op of these kinds that computes a variable; empty if none does.

    Examples
    --------
    >>> x = tt.fvector("x")
    >>> operands(tt.exp(x), scalar.Exp), operands(x, scalar.Exp)
    ([x], [])
    """
    node = variable.owner
    found = node is not None and isinstance(node.op, tt.Elemwise) and isinstance(node.op.scalar_op, kinds)
    return node.inputs if found else []


def number(variable: Any, depth: int = 8) -> float | None:
    """The value of an element-wise expression of constants that is the same everywhere, None for any other.

    Examples
    --------
    >>> number(0.5 * (1 + tt.as_tensor_variable(3.0)).dimshuffle("x", "x")), number(tt.zeros_like(tt.fvector()))
    (2.0, 0.0)
    >>> number(tt.fscalar())
    """
    if isinstance(variable, tt.Constant):
        data = np.asarray(variable.data)
        if not 0 < data.size <= LARGEST or data.dtype.kind not in "biuf":
            return None
        return float(data.flat[0]) if (data == data.flat[0]).all() else None
    node = variable.owner
    if depth == 0 or node is None or not isinstance(node.op, (tt.Elemwise, tt.DimShuffle)):
        return None
    if operands(variable, scalar.Second):  # a filled tensor
        return number(node.inputs[1], depth - 1)
    values = []
    for v in node.inputs:  # stops at the first that is no number
        values.append(number(v, depth - 1))
        if values[-1] is None:
            return None
    if isinstance(node.op, tt.DimShuffle):
        return values[0]
    arguments = [np.asarray(value, v.dtype)[()] for value, v in zip(values, node.inputs)]
    return float(np.asarray(node.op.scalar_op.impl(*arguments), variable.dtype))


def whole(value: Any) -> int | None:
    """A Python integer, or the whole number that a variable is (`number`); None for any other.

    Examples
    --------
    >>> whole(-1), whole(tt.as_tensor_variable(2)), whole(tt.as_tensor_variable(0.5))
    (-1, 2, None)
    """
    value = value if isinstance(value, int) else number(value)
    return int(value) if value is not None and float(value).is_integer() else None


def scaled(variable: Any) -> tuple[float, Any]:
    """A number and what it multiplies: any sign, factor or divisor that is a number is taken off, no more.

    Examples
    --------
    >>> x, y = tt.fvectors("xy")
    >>> scaled(-(x / 4)), scaled(x * y)
    ((-0.25, x), (1.0, Elemwise{mul,no_inplace}.0))
    """
    factor = 1.0
    while True:
        inputs = operands(variable, scalar.Mul, scalar.Neg, scalar.TrueDiv)
        values = [number(v) for v in inputs]
        is_quotient = bool(operands(variable, scalar.TrueDiv))
        if values.count(None) != 1 or (is_quotient and not values[1]):
            return factor, variable
        rest = math.prod(value for value in values if value is not None)
        if operands(variable, scalar.Neg):
            rest = -1.0
        factor = factor / rest if is_quotient else factor * rest
        variable = inputs[values.index(None)]


def inside(variable: Any, *kinds: type, depth: int = 4) -> list:
    """The results of element-wise Ops of these kinds that an expression has, at most so many element-wise Ops deep.

    Examples
    --------
    >>> x = tt.fvector("x")
    >>> inside(1 + abs(x) * 2, scalar.Abs)
    [Elemwise{abs_,no_inplace}.0]
    """
    found, level = [], [variable]
    for _ in range(depth):
        found += [v for v in level if operands(v, *kinds) and v not in found]
        level = [w for v in level for w in operands(v, scalar.ScalarOp)]
    return found


def factors(variable: Any, *whole: Any) -> tuple[float, list]:
    """An expression as a number times a product, however that is nested; whole powers are products too.

    Parameters
    ----------
    variable : theano.tensor.TensorVariable
    *whole : theano.tensor.TensorVariable
        What is not taken apart.

    Examples
    --------
    >>> x, y = tt.fvectors("xy")
    >>> factors(-3 * (x * y**2) / 2)
    (-1.5, [x, y, y])
    >>> z = x * y
    >>> factors(2 * z, z)
    (2.0, [Elemwise{mul,no_inplace}.0])
    """
    coefficient, found, waiting = 1.0, [], [variable]
    while waiting:
        v = waiting.pop(0)
        if v in whole:
            found.append(v)
            continue
        value, inputs = number(v), operands(v, scalar.Mul, scalar.Neg, scalar.TrueDiv, scalar.Sqr, scalar.Pow)
        kind = type(v.owner.op.scalar_op) if inputs else None
        second = number(inputs[1]) if kind in (scalar.TrueDiv, scalar.Pow) else None
        if value is not None:
            coefficient *= value
        elif kind is scalar.Mul:
            waiting[:0] = inputs
        elif kind is scalar.Neg:
            coefficient, waiting[:0] = -coefficient, inputs
        elif kind is scalar.TrueDiv and second:
            coefficient, waiting[:0] = coefficient / second, inputs[:1]
        elif kind is scalar.Sqr or kind is scalar.Pow and second in (1, 2, 3):
            waiting[:0] = inputs[:1] * int(second or 2)
        else:
            found.append(v)
    return coefficient, found


def terms(variable: Any, *whole: Any) -> tuple[float, list]:
    """An expression as a number plus products, each as `factors` gives it.

    Examples
    --------
    >>> x, y = tt.fvectors("xy")
    >>> terms(1 + 2 * (x - x * y))
    (1.0, [(2.0, [x]), (-2.0, [x, y])])
    """
    constant, found, waiting = 0.0, [], [(1.0, variable)]
    while waiting:
        sign, v = waiting.pop(0)
        coefficient, product = factors(v, *whole)
        is_open = len(product) == 1 and product[0] not in whole
        inputs = operands(product[0], scalar.Add, scalar.Sub) if is_open else []
        if not product:
            constant += sign * coefficient
        elif inputs:
            signs = (1, -1) if isinstance(product[0].owner.op.scalar_op, scalar.Sub) else [1] * len(inputs)
            waiting[:0] = [(sign * coefficient * each, w) for each, w in zip(signs, inputs)]
        else:
            found.append((sign * coefficient, product))
    return constant, found
