"""Theano's elementary functions of float32 as code that the compiler turns into vector instructions.

Theano calls the C library for `exp`, `log` and what is made of them, one element at a time. The functions of
c_code/elementary.h are inlined instead, with an error of at most 2 units in the last place, 4 for erfc.

Examples
--------
>>> inlined(scalar.exp, ["float32"]).function
'fv_exp'
>>> inlined(scalar.exp, ["float64"]) is None
True
"""

import functools
import os

import numpy as np
from theano import scalar
from theano.scalar import basic_scipy
from theano.tensor.nnet import sigm

from fastvae.backends.abstract.activations import Activation, ActivationGradient, Parametrised, settings
from fastvae.backends.cpu import library
from fastvae.compilation import together


@functools.lru_cache(maxsize=None)
def source(name):
    """The text of a header of c_code/, which modules that are compiled together share."""
    with open(os.path.join(library.HERE, name), encoding="ascii") as file:
        return together.common(file.read())


class _Inlined:
    function = None

    def c_code(self, node, name, inputs, outputs, sub):
        return f"{outputs[0]} = {self.function}({inputs[0]});"

    def c_support_code(self):
        return source("elementary.h")

    def c_code_cache_version(self):
        return (1, source("elementary.h"))


class Exp(_Inlined, scalar.Exp):
    function = "fv_exp"


class Expm1(_Inlined, scalar.Expm1):
    function = "fv_expm1"


class Log(_Inlined, scalar.Log):
    function = "fv_log"


class Log1p(_Inlined, scalar.Log1p):
    function = "fv_log1p"


class Tanh(_Inlined, scalar.Tanh):
    function = "fv_tanh"


class Sigmoid(_Inlined, sigm.ScalarSigmoid):
    function = "fv_sigmoid"


class Softplus(_Inlined, sigm.ScalarSoftplus):
    function = "fv_softplus"


class Erf(_Inlined, basic_scipy.Erf):
    function = "fv_erf"


class Erfc(_Inlined, basic_scipy.Erfc):
    function = "fv_erfc"


class _InlinedActivation(Parametrised):
    """An activation, or its gradient, by c_code/activations.h."""

    __props__ = ("op",)

    def __init__(self, op):
        super().__init__(scalar.transfer_type(0))
        self.op, self.nin = op, op.nin

    def impl(self, *values):
        return self.op.impl(*values)

    def c_code(self, node, name, inputs, outputs, sub):
        is_gradient = isinstance(self.op, ActivationGradient)
        kind, *parameters = settings(self.op.activation if is_gradient else self.op)
        values = ", ".join(_literal(value) for value in parameters)
        result = f"{'fv_slope' if is_gradient else 'fv_activate'}({kind}, p, {inputs[0]})"
        product = f"{inputs[1]} * {result}" if is_gradient else result
        return f"{{ const float p[] = {{ {values} }}; {outputs[0]} = {product}; }}"

    def c_support_code(self):
        return source("elementary.h") + source("activations.h")

    def c_code_cache_version(self):
        return (1, source("elementary.h"), source("activations.h"))


def _literal(value):
    """A number as C code of a float32."""
    value = np.float32(value)
    if np.isfinite(value):
        return f"{value:.9e}f"
    return "NAN" if np.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"


INLINED = {cls.__mro__[2]: cls for cls in (Exp, Expm1, Log, Log1p, Tanh, Sigmoid, Softplus, Erf, Erfc)}


def inlined(op, dtypes):
    """The scalar Op that computes the same by c_code/elementary.h, or None if there is none for these types.

    Parameters
    ----------
    op : theano.scalar.ScalarOp
    dtypes : iterable of str
        Of its inputs.
    """
    if any(dtype != "float32" for dtype in dtypes):
        return None
    if isinstance(op, (Activation, ActivationGradient)):
        return _InlinedActivation(op)
    cls = INLINED.get(type(op))
    return cls and cls(scalar.upgrade_to_float, name=f"inlined_{op}")


def with_inlined(op, dtypes):
    """A scalar Op, fused or not, with inlined functions where there are any for it; None where there are none.

    Parameters
    ----------
    op : theano.scalar.ScalarOp
    dtypes : iterable of str
        Of its inputs.
    """
    if type(op) is not scalar.Composite:
        return inlined(op, dtypes)
    replaced = {v: v.type() for v in op.fgraph.inputs}
    found = False
    for node in op.fgraph.toposort():
        inputs = [replaced.get(v, v) for v in node.inputs]
        new = inlined(node.op, (v.dtype for v in inputs))
        found = found or new is not None
        clone = node.clone_with_new_inputs(inputs) if new is None else new.make_node(*inputs)
        replaced.update(zip(node.outputs, clone.outputs))
    if not found:
        return None
    return scalar.Composite([replaced[v] for v in op.fgraph.inputs], [replaced[v] for v in op.fgraph.outputs])
