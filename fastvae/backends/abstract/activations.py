"""Activations, each an element-wise Op whose gradient is one further pass.

The gradient comes from the output y where y tells the slope, so that nobody needs the argument x any more: such an
activation can be part of the product before it, in training too. Else it comes from x.

    LeakyRelu     x above 0, else alpha x                                                    from y
    SignedRelu    max(x, 0) with any slope at exactly 0, such as 0.5 in `tt.nnet.relu`       from y
    Elu           scale x above 0, else scale alpha (exp(x) - 1); SELU too                   from y
    Gelu          x times the standard Normal distribution function, GeluTanh the usual approximation of it
    Swish         x sigmoid(beta x)
    Clip          x between two bounds
    ParametricRelu    LeakyRelu with a variable alpha, of x and alpha

ReLU with slope 0 at 0 is `relu.Relu`. Sigmoid, tanh and softplus are Theano's own; `KINDS` numbers all of them, for
compiled code.

Examples
--------
>>> import theano.tensor as tt
>>> x = tt.constant(np.float32([-2, 0, 3]))
>>> tt.Elemwise(LeakyRelu(0.5))(x).eval(), tt.Elemwise(Elu())(x).eval().round(4)
(array([-1.,  0.,  3.], dtype=float32), array([-0.8647,  0.    ,  3.    ], dtype=float32))
"""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import numpy as np
import theano
from theano import scalar
from theano.configparser import change_flags
from theano.tensor.nnet.sigm import ScalarSigmoid, ScalarSoftplus, scalar_sigmoid

from fastvae.backends.abstract.relu import Relu, relu_scalar

NAN = None  # a slope that is NaN, as a parameter: NaN itself is not equal to itself


class Parametrised(scalar.ScalarOp):
    """A scalar Op whose constructor takes its own parameters, which is not what Theano's rewrites expect."""

    def make_new_inplace(self, output_types_preference=None, name=None):
        """What Theano calls for the variant of its Elemwise that works in place."""
        new = copy.copy(self)
        new.output_types_preference, new.name = output_types_preference, name
        return new


class _OfExpression(Parametrised):
    """A scalar Op that an expression of Theano's own ones defines, in whatever float type its inputs have.

    A subclass says `expression(*inputs)`, and in `__props__` which attributes tell two of its Ops apart.
    """

    def __init__(self) -> None:
        super().__init__(scalar.transfer_type(0))

    def expression(self, *inputs: Any) -> Any:
        raise NotImplementedError

    def __repr__(self):
        return str(self)

    def impl(self, *inputs):
        dtype = np.result_type(*inputs).name
        return _composite(self, dtype if dtype.startswith("float") else theano.config.floatX).impl(*inputs)

    def c_code(self, node, name, inputs, outputs, sub):
        return _composite(self, node.inputs[0].dtype).c_code(node, name, inputs, outputs, sub)

    def c_support_code(self):
        return _composite(self, theano.config.floatX).c_support_code()

    def c_code_cache_version(self):
        version = _composite(self, theano.config.floatX).c_code_cache_version()
        return version and (1, *version)


@functools.lru_cache(maxsize=None)
@change_flags(compute_test_value="off")
def _composite(op, dtype):
    """The same Op as one that Theano has the C code of."""
    inputs = [scalar.get_scalar_type(dtype)() for _ in range(op.nin)]
    composite = scalar.Composite(inputs, [op.expression(*inputs)])
    composite.init_py_impls()
    return composite


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


def _constants(like, *values):
    return [scalar.constant(np.array(value, like.dtype)) for value in values]


def _at_zero_or_nan(y, at_zero, at_nan):
    (zero,) = _constants(y, 0)
    return scalar.switch(scalar.eq(y, zero), at_zero, y if at_nan is NAN else _constants(y, at_nan)[0])


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
        zero, alpha = _constants(x, 0, self.alpha)
        return scalar.switch(x > zero, x, alpha * x)

    def slope(self, source):
        zero, one, alpha = _constants(source, 0, 1, self.alpha)
        below = scalar.switch(source < zero, alpha, _at_zero_or_nan(source, self.at_zero, self.at_nan))
        return scalar.switch(source > zero, one, below)


# The sign of a 0 is set and found by bits. The compiler's flags may say that nobody looks at it: copysign(0, x)
# is 0 to it then, signbit(x) is x < 0, and the bits of what compares equal to 0 are those of +0.
def _bits(dtype):
    """A number's type in C, that of its bits, and its sign bit."""
    single = "float", "unsigned int", "0x80000000u"
    return single if dtype == "float32" else ("double", "unsigned long", "(1ul << 63)")


class _IsPlusZero(scalar.UnaryScalarOp):
    """1 for +0, else 0, for -0 too."""

    def impl(self, x):
        return np.asarray((x == 0) & ~np.signbit(x), np.asarray(x).dtype)[()]

    def c_code(self, node, name, inputs, outputs, sub):
        number, bits, _ = _bits(node.inputs[0].dtype)
        return f"""{{
            union {{ {number} value; {bits} bits; }} number = {{ {inputs[0]} }};
            {outputs[0]} = number.bits == 0 ? 1 : 0;
        }}"""

    def c_code_cache_version(self):
        return (1,)

    def L_op(self, inputs, outputs, gradients):
        return [inputs[0].zeros_like()]


class _SignOfZero(scalar.UnaryScalarOp):
    """-0 where x is below 0, else +0."""

    def impl(self, x):
        return np.copysign(np.zeros_like(x), -1 if x < 0 else 1)

    def c_code(self, node, name, inputs, outputs, sub):
        number, bits, sign = _bits(node.inputs[0].dtype)
        return f"""{{
            union {{ {bits} bits; {number} value; }} zero = {{ {inputs[0]} < 0 ? {sign} : 0 }};
            {outputs[0]} = zero.value;
        }}"""

    def c_code_cache_version(self):
        return (2,)

    def L_op(self, inputs, outputs, gradients):
        return [inputs[0].zeros_like()]


_is_plus_zero = _IsPlusZero(scalar.transfer_type(0), name="is_plus_zero")
_sign_of_zero = _SignOfZero(scalar.transfer_type(0), name="sign_of_zero")


class SignedRelu(Activation):
    """max(x, 0) with any slope at exactly 0, and at NaN: `tt.nnet.relu` has 0.5 and NaN there.

    The output is -0 where x is below 0 and +0 where it is 0: the sign tells them apart.
    """

    __props__ = ("at_zero", "at_nan")
    from_output = True

    def __init__(self, at_zero: float = 0.5, at_nan: float | None = NAN) -> None:
        super().__init__()
        self.at_zero, self.at_nan = at_zero, at_nan

    def expression(self, x):
        (zero,) = _constants(x, 0)
        return scalar.switch(x > zero, x, scalar.switch(scalar.isnan(x), x, _sign_of_zero(x)))

    def slope(self, source):
        zero, one, at_zero = _constants(source, 0, 1, self.at_zero)
        at_nan = source if self.at_nan is NAN else _constants(source, self.at_nan)[0]
        at_zero = scalar.switch(_is_plus_zero(source) > zero, at_zero, zero)  # OpenCL wants a comparison here
        return scalar.switch(source > zero, one, scalar.switch(scalar.isnan(source), at_nan, at_zero))


class Elu(Activation):
    """scale x where x is above 0, else scale alpha (exp(x) - 1), for alpha and scale above 0.

    Clevert et al., 2015, arXiv:1511.07289, equation 15; with a scale Klambauer et al., 2017, arXiv:1706.02515,
    equation 2.
    """

    __props__ = ("alpha", "scale")
    from_output = True

    def __init__(self, alpha: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.scale = alpha, scale

    def expression(self, x):
        zero, scale, lowest = _constants(x, 0, self.scale, self.scale * self.alpha)
        return scalar.switch(x > zero, scale * x, lowest * scalar.expm1(x))

    def slope(self, source):
        zero, scale, lowest = _constants(source, 0, self.scale, self.scale * self.alpha)
        return scalar.switch(source > zero, scale, source + lowest)


class Gelu(Activation):
    """x times the standard Normal distribution function of x (Hendrycks and Gimpel, 2016, arXiv:1606.08415)."""

    __props__ = ()

    @staticmethod
    def _cdf(x):
        half, one, root = _constants(x, 0.5, 1, math.sqrt(0.5))
        return half * (one + scalar.erf(root * x))

    def expression(self, x):
        return x * self._cdf(x)

    def slope(self, source):
        minus_half, density = _constants(source, -0.5, 1 / math.sqrt(2 * math.pi))
        return self._cdf(source) + density * source * scalar.exp(minus_half * source * source)


class GeluTanh(Activation):
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, Hendrycks and Gimpel's approximation of Gelu."""

    __props__ = ()

    @staticmethod
    def _tanh(x):
        root, cube = _constants(x, math.sqrt(2 / math.pi), 0.044715)
        return scalar.tanh(root * (x + cube * x * x * x))

    def expression(self, x):
        half, one = _constants(x, 0.5, 1)
        return half * x * (one + self._tanh(x))

    def slope(self, source):
        half, one, root, cubes = _constants(source, 0.5, 1, math.sqrt(2 / math.pi), 3 * 0.044715)
        t = self._tanh(source)
        return half * (one + t) + half * source * (one - scalar.sqr(t)) * root * (one + cubes * source * source)


class Swish(Activation):
    """x sigmoid(beta x) (Ramachandran et al., 2017, arXiv:1710.05941); with beta = 1 also called SiLU."""

    __props__ = ("beta",)

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta

    def expression(self, x):
        (beta,) = _constants(x, self.beta)
        return x * scalar_sigmoid(beta * x)

    def slope(self, source):
        one, beta = _constants(source, 1, self.beta)
        s = scalar_sigmoid(beta * source)
        return s + beta * source * s * (one - s)


class Clip(Activation):
    """x, but at least the lower and at most the upper bound; its slope is 1 at the bounds."""

    __props__ = ("lower", "upper")

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.lower, self.upper = lower, upper

    def expression(self, x):
        return scalar.clip(x, *_constants(x, self.lower, self.upper))

    def slope(self, source):
        zero, one, lower, upper = _constants(source, 0, 1, self.lower, self.upper)
        return scalar.switch(source >= lower, scalar.switch(source <= upper, one, zero), zero)


class ParametricRelu(_OfExpression, scalar.BinaryScalarOp):
    """(x, alpha) -> x where it is above 0, else alpha x (He et al., 2015, arXiv:1502.01852, equation 1).

    Its slope at exactly 0 is the mean of both sides', as in `tt.nnet.relu(x, alpha)`, if `mean_at_zero`, else alpha.
    """

    __props__ = ("mean_at_zero",)

    def __init__(self, mean_at_zero: bool = False) -> None:
        super().__init__()
        self.mean_at_zero = mean_at_zero

    def expression(self, x, alpha):
        (zero,) = _constants(x, 0)
        return scalar.switch(x > zero, x, alpha * x)

    def c_code(self, node, name, inputs, outputs, sub):
        x, alpha = inputs
        return f"{outputs[0]} = {x} > 0 ? {x} : {alpha} * {x};"

    def c_code_cache_version(self):
        return (1,)

    def L_op(self, inputs, outputs, gradients):
        (x, alpha), (g,) = inputs, gradients
        zero, one, half = _constants(x, 0, 1, 0.5)
        below = alpha
        if self.mean_at_zero:  # and NaN at NaN, as in `tt.nnet.relu`
            below = scalar.switch(x < zero, alpha, half * (one + alpha) + x)
        return [g * scalar.switch(x > zero, one, below), g * scalar.switch(x > zero, zero, x)]


#: The kinds of activations in the order of their numbers in compiled code, from 1 on; 0 stands for none.
KINDS = (Relu, ScalarSigmoid, scalar.Tanh, ScalarSoftplus, LeakyRelu, SignedRelu, Elu, Gelu, GeluTanh, Swish, Clip)


_NAMED = {"relu": relu_scalar, "sigmoid": scalar_sigmoid}


def scalar_op(activation: Any) -> Any:
    """The scalar Op of an activation that a product has: it may be the name of one."""
    return _NAMED.get(activation, activation)


def settings(activation: Any) -> tuple[float, ...]:
    """The activation of a product for compiled code: the number of its kind, 0 for none, and three parameters.

    Examples
    --------
    >>> settings(Elu(2.0)), settings("sigmoid"), settings(None)
    ((7, 2.0, 1.0, 0.0), (2, 0.0, 0.0, 0.0), (0, 0.0, 0.0, 0.0))
    """
    op = scalar_op(activation)
    kind = 0 if op is None else 1 + KINDS.index(type(op))
    given = [math.nan if value is NAN else value for value in op._props()] if isinstance(op, Activation) else []
    return (kind, *given, *[0.0] * (3 - len(given)))
