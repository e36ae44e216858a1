"""Constant powers as products, quotients and square roots: the C library's pow takes a hundred times as long.

Theano does this for exponents that it knows when it specializes a graph. Here it is done for those that come later,
with the stock lowering of batch normalization for example, and within fused passes.

Examples
--------
>>> x = scalar.float32("x")
>>> print(scalar.Composite([x], [product(x, 3)]))
Composite{(sqr(i0) * i0)}
>>> product(x, 2.2) is None
True
"""

import numpy as np
from theano import scalar
from theano.gof import graph
from theano.tensor.basic import NotScalarConstantError, get_scalar_constant_value

LARGEST = 16  # whole exponents; those between them have a square root


def product(x, exponent):
    """``x ** exponent`` without pow, None unless twice the exponent is a small whole number.

    Parameters
    ----------
    x : theano.scalar.ScalarVariable
        float32.
    exponent : float
    """
    whole, half = divmod(abs(exponent), 1)
    if half not in (0, 0.5) or whole > LARGEST:
        return None
    factors = [scalar.sqrt(x)] if half else []
    power = x
    for bit in reversed(f"{int(whole):b}"):
        if bit == "1":
            factors.insert(0, power)
        power = scalar.sqr(power)
    one = scalar.constant(np.float32(1))
    result = scalar.mul(*factors) if len(factors) > 1 else factors[0] if factors else scalar.second(x, one)
    return scalar.true_div(one, result) if exponent < 0 else scalar.identity(x) if result is x else result


def _value(variable, values):
    """The number that a scalar of a fused pass is, or None."""
    if isinstance(variable, scalar.ScalarConstant):
        return variable.data
    if variable.owner is not None and isinstance(variable.owner.op, scalar.Cast):
        return _value(variable.owner.inputs[0], values)
    return values.get(variable)


def _constant(variable):
    """The number that all elements of a tensor are, or None where that is not known."""
    try:
        return get_scalar_constant_value(variable)
    except NotScalarConstantError:
        return None


def _as_product(node, x, values):
    """The result of a scalar node on x if it is a power that `product` has, or None."""
    if not isinstance(node.op, scalar.Pow) or {x.dtype, node.outputs[0].dtype} != {"float32"}:
        return None
    exponent = _value(node.inputs[1], values)
    return None if exponent is None else product(x, float(exponent))


def with_products(op, inputs):
    """A scalar Op, fused or not, and its operands, with products in place of powers whose exponents are constant.

    Parameters
    ----------
    op : theano.scalar.ScalarOp
    inputs : list of tensor variables
        The operands of the pass.

    Returns
    -------
    op : theano.scalar.ScalarOp
        The same where there is no such power.
    inputs : list
        Without exponents that it needs no longer.
    """
    fused = op
    if isinstance(op, scalar.Pow):
        variables = [scalar.get_scalar_type(v.dtype).make_variable() for v in inputs]
        fused = scalar.Composite(variables, [op(*variables)])
    if not isinstance(fused, scalar.Composite):
        return op, inputs
    values = {v: _constant(given) for v, given in zip(fused.fgraph.inputs, inputs)}
    replaced = {v: v.type() for v in fused.fgraph.inputs}
    found = False
    for node in fused.fgraph.toposort():
        operands = [replaced.get(v, v) for v in node.inputs]
        new = _as_product(node, operands[0], values)
        found = found or new is not None
        replaced.update(zip(node.outputs, node.clone_with_new_inputs(operands).outputs if new is None else [new]))
    if not found:
        return op, inputs
    outputs = [replaced[v] for v in fused.fgraph.outputs]
    variables = [replaced[v] for v in fused.fgraph.inputs]
    used = set(graph.inputs(outputs))
    kept = [i for i, v in enumerate(variables) if v in used]
    return scalar.Composite([variables[i] for i in kept], outputs), [inputs[i] for i in kept]
