"""Which size of a variable an expression is: what patterns of images ask of the shapes in a spelling.

Examples
--------
>>> import theano.tensor as tt
>>> x = tt.ftensor4("x")
>>> as_size(2 * x.shape[2] + 3, x, 2), as_size(tt.as_tensor_variable(7), x, 2), as_size(x.shape[1], x, 2)
((2, 3), (0, 7), None)
"""

from __future__ import annotations

from typing import Any

import theano
from theano.compile.ops import Shape, Shape_i
from theano.tensor.basic import Join
from theano.tensor.opt import MakeVector
from theano.tensor.subtensor import Subtensor, get_idx_list

from fastvae.backends.abstract.spellings import number, terms


def as_size(expression: Any, x: Any, axis: int) -> tuple[int, int] | None:
    """(a, b) if the expression is ``a * x.shape[axis] + b`` for whole numbers a and b, else None."""
    constant, products = terms(expression)
    if not all(len(sizes) == 1 and _is_size(sizes[0], x, axis) for _, sizes in products):
        return None
    found = sum(coefficient for coefficient, _ in products), constant
    return (int(found[0]), int(found[1])) if all(float(v).is_integer() for v in found) else None


def _is_size(v, x, axis):
    if v.owner is None:
        return False
    if isinstance(v.owner.op, Shape_i):
        return v.owner.inputs[0] is x and v.owner.op.i == axis
    if not isinstance(v.owner.op, Subtensor):
        return False
    shape, index = v.owner.inputs[0], get_idx_list(v.owner.inputs, v.owner.op.idx_list)
    if shape.owner is None or not isinstance(shape.owner.op, Shape) or shape.owner.inputs[0] is not x:
        return False
    if len(index) != 1 or isinstance(index[0], slice):
        return False
    i = index[0] if isinstance(index[0], int) else number(index[0])
    return i is not None and i % x.ndim == axis


def entries(shape: Any) -> list | None:
    """The sizes that a symbolic shape is made of, None if that cannot be seen."""
    if isinstance(shape, theano.Constant):
        return [theano.tensor.constant(int(size)) for size in shape.data]
    node = shape.owner
    if node is not None and isinstance(node.op, MakeVector):
        return node.inputs
    if node is not None and isinstance(node.op, Join):
        parts = [entries(part) for part in node.inputs[1:]]
        return None if None in parts else [size for part in parts for size in part]
    return None
