"""Activations with parameters, each an element-wise Op whose gradient is one further pass.

The gradient comes from the output y where y tells the slope exactly, so that nobody needs the argument x any more: an
activation can then be part of the product before it. Else it comes from x.

    LeakyRelu         x above 0, else alpha x                                    from y
    activation        the tensor Op of one of these

Examples
--------
>>> activation(LeakyRelu(0.5))(tt.constant(np.float32([-2, 0, 3]))).eval()
array([-1.,  0.,  3.], dtype=float32)
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from theano import scalar

from fastvae.backends.abstract.spellings import inside, recognises, terms

NAN = None  # a slope that is NaN, as a parameter: NaN itself is not equal to itself


class _OfExpression(scalar.ScalarOp):
    """A scalar Op that an expression of Theano's own ones defines, in whatever float type its inputs have.

    A subclass says `expression(*inputs)`, and in `__props__` which attributes tell two of its Ops apart.
    """

    def __init__(self) -> None:
        super().__init__(scalar.transfer_type(0))

    def expression(self, *inputs: Any) -> Any:
        raise NotImplementedError

    def composite(self, dtype: str) -> scalar.Composite:
        """The same as an Op that Theano has the C code of."""
        inputs = [scalar.get_scalar_type(dtype)() for _ in range(self.nin)]
        return scalar.Composite(inputs, [self.expression(*inputs)])

    def __repr__(self):
        return str(self)

    def make_new_inplace(self, output_types_preference=None, name=None):
        """What Theano calls for the variant of its Elemwise that works in place."""
        new = copy.copy(self)
        new.output_types_preference, new.name = output_types_preference, name
        return new

    def impl(self, *inputs):
        dtype = np.result_type(*inputs).name
        composite = self.composite(dtype if dtype.startswith("float") else theano.config.floatX)
        composite.init_py_impls()
        return composite.impl(*inputs)

    def c_code(self, node, name, inputs, outputs, sub):
        return self.composite(node.inputs[0].dtype).c_code(node, name, inputs, outputs, sub)

    def c_support_code(self):
        return self.composite(theano.config.floatX).c_support_code()

    def c_code_cache_version(self):
        version = self.composite(theano.config.floatX).c_code_cache_version()
        return version and (1, *version)


class Activation(_OfExpression, scalar.UnaryScalarOp):
    """An element-wise function of x.

    A subclass says `expression(x)`, and with `slope(source)` its derivative as an expression of the output if
    `from_output`, else of x.
    """

    from_output = False

    def slope(self, source: Any) -> Any:
        raise NotImplementedError

    def L_op(self, inputs, outputs, gradients):
        return [ActivationGradient(self)(outputs[0] if self.from_output else inputs[0], gradients[0])]


class ActivationGradient(_OfExpression, scalar.BinaryScalarOp):
    """(source, g) -> g times the slope of an activation, whose source is its output or its argument."""

    __props__ = ("activation",)

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def expression(self, source, g):
        return g * self.activation.slope(source)

    def L_op(self, inputs, outputs, gradients):
        source, g = inputs
        slope = self.activation.slope(source)
        curvature = theano.grad(None, source, known_grads={slope: g * gradients[0]}, disconnected_inputs="ignore")
        return [curvature, self(source, gradients[0])]


def _constant(value, like):
    return scalar.constant(np.array(value, like.dtype))


class LeakyRelu(Activation):
    """x where it is above 0, else alpha x, for alpha above 0 (Maas et al., 2013, section 2).

    The slopes at exactly 0 and at NaN are parameters, because the usual spellings differ there.
    """

    __props__ = ("alpha", "at_zero", "at_nan")
    from_output = True

    def __init__(self, alpha: float = 0.01, at_zero: float | None = None, at_nan: float | None = NAN) -> None:
        super().__init__()
        self.alpha, self.at_zero, self.at_nan = alpha, alpha if at_zero is None else at_zero, at_nan

    def expression(self, x):
        return scalar.switch(x > _constant(0, x), x, _constant(self.alpha, x) * x)

    def slope(self, source):
        zero, one, alpha, at_zero = (_constant(value, source) for value in (0, 1, self.alpha, self.at_zero))
        at_nan = source if self.at_nan is NAN else _constant(self.at_nan, source)
        at_zero_or_nan = scalar.switch(scalar.eq(source, zero), at_zero, at_nan)
        return scalar.switch(source > zero, one, scalar.switch(source < zero, alpha, at_zero_or_nan))


def activation(op: Activation) -> tt.Elemwise:
    """The tensor Op of an activation."""
    return tt.Elemwise(op)


@recognises(scalar.Add)
def leaky_relu_by_magnitude(node):
    """`tt.nnet.relu(x, alpha)`: (1 + alpha) / 2 x + (1 - alpha) / 2 abs(x)."""
    for size in inside(node.outputs[0], scalar.Abs, depth=3):
        x = size.owner.inputs[0]
        constant, found = terms(node.outputs[0], x, size)
        slopes = {product[0]: weight for weight, product in found if len(product) == 1}
        if constant == 0 and len(found) == 2 and slopes.keys() == {x, size}:
            alpha, at_zero = slopes[x] - slopes[size], slopes[x]
            if alpha > 0 and abs(slopes[x] + slopes[size] - 1) < 1e-6:
                return activation(LeakyRelu(alpha, at_zero))(x)
    return None
