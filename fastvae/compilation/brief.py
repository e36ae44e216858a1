"""Less C code for the compiler in each of theano's modules, which do the same as before.

Theano writes out, for every array that an Op takes or gives, what is done with it: sixty lines, most of them for errors
that never happen, and at each place that may fail eight more. Compiling that took longer than compiling what the Ops
compute. Here the former is a call of a function of arrays.h, and the latter is done once in an Op. The compiler takes
little trouble over Ops that only look at shapes or make views: it would be more than these ever take.
"""

from __future__ import annotations

import functools
import hashlib
import pathlib

import theano.tensor as tt
from theano import scalar
from theano.compile.ops import Rebroadcast, Shape, Shape_i
from theano.gof import CLinker, cc
from theano.gof.utils import MethodNotDefined
from theano.tensor import TensorType
from theano.tensor.opt import MakeVector

from . import together

# They leave all work on numbers to numpy.
GLUE = (
    *(Rebroadcast, Shape, Shape_i, MakeVector, tt.ScalarFromTensor, tt.TensorFromScalar, tt.DimShuffle, tt.Reshape),
    *(tt.Subtensor, tt.IncSubtensor, tt.Join),
)
DISCRETE = {kind.dtype for kind in scalar.discrete_types}
UNSAID = """
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_RuntimeError,
                    "Unexpected error in an Op's C code. "
                    "No Python exception was set.");
            PyErr_Fetch("""


def install() -> None:
    """Have theano write less of it."""
    functions = pathlib.Path(__file__).with_name("arrays.h").read_text(encoding="ascii")
    together.common(functions)
    version = hashlib.sha256(functions.encode() + UNSAID.encode()).hexdigest()[:16]
    extract, support, number = TensorType.c_extract, TensorType.c_support_code, TensorType.c_code_cache_version
    struct, arguments = cc.struct_gen, CLinker.compile_args

    @functools.wraps(extract)
    def c_extract(self, name, sub, check_input=True):
        if not check_input:
            return extract(self, name, sub, check_input)
        kind = self.dtype_specs()[2]
        return f'{name} = fv_taken(py_{name}, {kind}, "{kind}"); if (!{name}) {sub["fail"]}'

    def c_sync(self, name, sub):
        return f"py_{name} = fv_given(py_{name}, {name}); if (!py_{name}) {sub['fail']}"

    @functools.wraps(support)
    def c_support_code(self):
        try:
            of_type = support(self)
        except MethodNotDefined:
            of_type = ""
        return "\n".join([of_type, functions])

    def c_code_cache_version(self):
        stock = number(self)
        return stock and (*stock, version)

    def failure_code(sub, use_goto=True):
        leave = f"goto __label_{sub['id']};" if use_goto else ""
        return f"{{{sub['failure_var']} = {sub['id']}; {leave}}}"

    def struct_gen(*args):
        return struct(*args).replace("PyErr_Fetch(", UNSAID.strip(), 1)

    @functools.wraps(arguments)
    def compile_args(self):
        first, *others = arguments(self)
        return ["-O1" if first == "-O3" and all(map(_is_glue, self.node_order)) else first, *others]

    CLinker.compile_args = compile_args
    TensorType.c_extract, TensorType.c_sync = c_extract, functools.wraps(TensorType.c_sync)(c_sync)
    TensorType.c_support_code = c_support_code
    TensorType.c_code_cache_version = functools.wraps(number)(c_code_cache_version)
    cc.failure_code = functools.wraps(cc.failure_code)(failure_code)
    cc.struct_gen = functools.wraps(struct)(struct_gen)


def _is_glue(node):
    """Whether a node computes nothing, or a number or two that are no floats: these are the same however compiled."""
    if isinstance(node.op, tt.Elemwise):
        variables = node.inputs + node.outputs
        return all(v.type.ndim == 0 and v.type.dtype in DISCRETE for v in variables) and not _has_floats(node.op)
    return isinstance(node.op, GLUE)


def _has_floats(op):
    """Whether numbers between the scalar Ops that an Elemwise is fused from are floats."""
    graph = getattr(op.scalar_op, "fgraph", None)
    return graph is not None and any(v.type.dtype not in DISCRETE for v in graph.variables)
