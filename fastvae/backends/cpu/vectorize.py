"""Fused element-wise passes become threaded vector code.

Theano's own loops have one thread. They stay scalar where a pass calls the C library (`exp`, `log`, ...), where it
takes a scalar from the graph, which the compiler must expect the pass to overwrite, and where operands are broadcast or
strided. Here the functions are inlined (`fastvae.backends.cpu.elementary`), constant powers are products
(`fastvae.backends.cpu.powers`), scalars are read once before the loop, and operands that do not lie as the result does
come through a buffer (c_code/elementwise_loop.h), so that the loop always runs over neighbours.

An element's value depends neither on its place in memory nor on the number of threads: every operation rounds as
written, in the vector loop and in its remainder.
"""

import math

import theano.tensor as tt
from theano import scalar
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace
from theano.gof.utils import MethodNotDefined, uniq

from fastvae.backends.cpu.elementary import source, with_inlined
from fastvae.backends.cpu.powers import with_products

FLAGS = ["-fopenmp", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing"]
NOT_FLAGS = ["-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-fassociative-math", "-freciprocal-math"]
NOT_FLAGS += ["-ffinite-math-only"]
RESULTS = ("float32", "bool", "int8", "uint8")
DISCRETE = tuple(kind.dtype for kind in scalar.discrete_types)
OPERANDS = ("float32", *DISCRETE)
SMALL = 4096  # elements up to which Theano's loop is as fast


class VectorElemwise(tt.Elemwise):
    """An Elemwise of one output of at least one axis, in one threaded loop of vector code."""

    def c_headers(self):
        return [*super().c_headers(), "<stdlib.h>", "<string.h>", "<omp.h>"]

    def c_compile_args(self):
        return FLAGS

    def c_no_compile_args(self):
        return NOT_FLAGS

    def c_support_code(self):
        try:
            of_pass = super().c_support_code()
        except MethodNotDefined:  # a pass of one Op may have none
            of_pass = ""
        return "\n".join([of_pass, source("elementwise_loop.h")])

    def c_code_cache_version_apply(self, node):
        version = super().c_code_cache_version_apply(node)
        return version and (*version, 5, source("elementwise_loop.h"))

    def _c_all(self, node, nodename, inames, onames, sub):
        """Theano's declarations, checks and output, and a loop of our own."""
        declarations, checks, output, _ = super()._c_all(node, nodename, inames, onames, sub)
        body = self.scalar_op.c_code(
            node.tag.fake_node, f"{nodename}_scalar_", [f"{name}_i" for name in inames], ["result"], sub
        )
        variables = dict(zip(inames, node.inputs))
        operands = [_Operand(name, variables[name]) for name in uniq(inames)]
        result = _Operand(onames[0], node.outputs[0])
        return declarations, checks, output, _loop(operands, result, body)


def _loop(operands, result, body):
    """C code of the pass `body` over the elements of `result`."""
    arrays = [operand for operand in operands if not operand.is_scalar] + [result]
    scalars = [operand for operand in operands if operand.is_scalar]
    inside = [f"const dtype_{o.name} {o.name}_i = (({o.type}) at[{i}])[j];" for i, o in enumerate(arrays[:-1])]
    inside += [f"dtype_{result.name} result; {body}", f"(({result.type}) at[{len(arrays) - 1}])[j] = result;"]
    return f"""
    {{
        fv_pass<{len(arrays)}, {len(result.pattern)}> pass = {{
            {{}}, {{ {", ".join(f"{{ {a.strides()} }}" for a in arrays)} }},
            {{ {", ".join(f"(char*) PyArray_DATA({a.name})" for a in arrays)} }},
            {{ {", ".join(f"(int) sizeof(dtype_{a.name})" for a in arrays)} }} }};
        for (int i = 0; i < {len(result.pattern)}; i++) pass.shape[i] = PyArray_DIMS({result.name})[i];
        pass.prepare();
        pass.run([&](char *const *at, npy_intp n) {{
            {" ".join(f"const dtype_{o.name} {o.name}_i = *({o.type}) PyArray_DATA({o.name});" for o in scalars)}
            #pragma GCC ivdep
            for (npy_intp j = 0; j < n; j++) {{ {" ".join(inside)} }}
        }});
    }}
    """


class _Operand:
    """What the generated code says of an array."""

    def __init__(self, name, variable):
        self.name, self.pattern, self.type = name, variable.broadcastable, f"dtype_{name}*"
        self.is_scalar = all(self.pattern)

    def strides(self):
        """Its strides, 0 on axes where it is broadcast."""
        return ", ".join("0" if b else f"PyArray_STRIDES({self.name})[{i}]" for i, b in enumerate(self.pattern))


def _scalar_nodes(node):
    """The scalar nodes that an Elemwise is fused from, or one for its Op."""
    op = node.op.scalar_op
    if isinstance(op, scalar.Composite):
        return op.fgraph.apply_nodes
    return [op.make_node(*(scalar.get_scalar_type(v.dtype).make_variable() for v in node.inputs))]


def _is_plain(node):
    """Whether a scalar node may run on any thread: a user's own may not, nor what raises an error."""
    raises = isinstance(node.op, (scalar.IntDiv, scalar.Mod)) and all(v.dtype in DISCRETE for v in node.inputs)
    return type(node.op).__module__.startswith(("theano.", "fastvae.")) and not raises


def _suits(node):
    """Whether a node is a pass of one result of at least one axis, over numbers of types that vector code takes."""
    (out, *more), is_elemwise = node.outputs, type(node.op) is tt.Elemwise
    if not is_elemwise or more or all(out.broadcastable) or out.dtype not in RESULTS:
        return False
    return all(v.dtype in OPERANDS for v in node.inputs) and all(map(_is_plain, _scalar_nodes(node)))


def _is_small(variable):
    """Whether the shape is known and small enough for Theano's own loop."""
    feature = getattr(variable.owner.fgraph, "shape_feature", None)
    shape = feature.shape_of.get(variable) if feature else None
    if shape is None or not all(isinstance(length, tt.Constant) for length in shape):
        return False
    return math.prod(int(length.data) for length in shape) <= SMALL


@local_optimizer([tt.Elemwise])
def local_vectorize(node):
    """An Elemwise of float32, or of comparisons and casts to or from it -> a VectorElemwise"""
    if not _suits(node):
        return False
    scalar_op, inputs = with_products(node.op.scalar_op, node.inputs)
    inlined = with_inlined(scalar_op, [v.dtype for v in inputs])
    if inlined is None and scalar_op is node.op.scalar_op and _is_small(node.outputs[0]):
        return False
    new = VectorElemwise(inlined or scalar_op, node.op.inplace_pattern)(*inputs)
    if new.type != node.outputs[0].type:
        return False
    copy_stack_trace(node.outputs[0], new)
    return [new]
