"""Fused element-wise passes become threaded vector code.

Theano's own loops have one thread, also for an optimizer's pass over a large parameter. They stay scalar where a pass
calls the C library (`exp`, `log`, ...), where it takes a scalar from the graph, which the compiler must expect the pass
to overwrite, and where operands are broadcast or strided. Here the functions are inlined
(`fastvae.backends.cpu.elementary`), scalars are read once before the loop, and axes along which all operands have
regular steps are merged into one loop.

An element's value depends neither on its place in memory nor on the number of threads: every operation rounds as
written, in the vector loop and in its remainder.
"""

import theano
import theano.tensor as tt
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace
from theano.gof.utils import MethodNotDefined, uniq

from fastvae.backends.cpu.elementary import source, with_inlined

FLAGS = ["-fopenmp", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
NOT_FLAGS = ["-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-fassociative-math", "-freciprocal-math"]
NOT_FLAGS += ["-ffinite-math-only"]
PARALLEL_MIN = 32768  # elements below which a second thread costs more than it brings, as in c_code/


class VectorElemwise(tt.Elemwise):
    """An Elemwise of one output of at least one axis, in one threaded loop of vector code."""

    def c_headers(self):
        return [*super().c_headers(), "<stdlib.h>", "<omp.h>"]

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
        return version and (*version, 1, source("elementwise_loop.h"))

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


class _Operand:
    """What the generated code says of an array."""

    def __init__(self, name, variable):
        self.name, self.pattern = name, variable.broadcastable
        self.is_scalar = all(self.pattern)
        self.is_broadcast = any(self.pattern)

    def strides(self):
        """Its strides, 0 on axes where it is broadcast."""
        return ", ".join("0" if b else f"PyArray_STRIDES({self.name})[{i}]" for i, b in enumerate(self.pattern))


def _loop(operands, result, body):
    """C code of the pass `body` over the elements of `result`."""
    arrays = [operand for operand in operands if not operand.is_scalar] + [result]
    broadcast = [array for array in arrays[:-1] if array.is_broadcast]
    full = [array for array in arrays if array not in broadcast]
    n, axes = len(arrays), len(result.pattern)
    scalars = [
        f"const dtype_{o.name} {o.name}_i = *(dtype_{o.name}*) PyArray_DATA({o.name});" for o in operands if o.is_scalar
    ]
    hoisted = f"""
        else if ({_steps_are(arrays, full, _size_of)} && {_steps_are(arrays, broadcast, lambda array: 0)}) {{
            {_rows(arrays, body, lambda array: "none" if array in broadcast else "unit")}
        }}""" if broadcast else ""  # fmt: skip
    return f"""
    {{
        npy_intp shape[{axes}], strides[{n}][{axes}] = {{ {", ".join(f"{{ {a.strides()} }}" for a in arrays)} }};
        char *const data[{n}] = {{ {", ".join(f"(char*) PyArray_DATA({array.name})" for array in arrays)} }};
        const npy_intp size = PyArray_SIZE({result.name});
        for (int i = 0; i < {axes}; i++) shape[i] = PyArray_DIMS({result.name})[i];
        const int left = fv_merge_axes({n}, {axes}, shape, strides[0]), threads = fv_threads(size);
        npy_intp step[{n}];
        for (int a = 0; a < {n}; a++) step[a] = strides[a][left - 1];
        {" ".join(scalars)}
        #pragma omp parallel num_threads(threads) if (threads > 1)
        {{
            npy_intp me = omp_get_thread_num(), all = omp_get_num_threads();
            npy_intp i = size * me / all / 16 * 16, end = me + 1 == all ? size : size * (me + 1) / all / 16 * 16;
            while (i < end) {{
                char* at[{n}];
                npy_intp column = fv_seek({n}, {axes}, left, shape, strides[0], data, i, at);
                const npy_intp rest = shape[left - 1] - column, some = rest < end - i ? rest : end - i;
                if ({_steps_are(arrays, arrays, _size_of)}) {{
                    {_rows(arrays, body, lambda array: "unit")}
                }}{hoisted}
                else {{
                    {_rows(arrays, body, lambda array: "any")}
                }}
                i += some;
            }}
        }}
    }}
    """


def _size_of(array):
    return f"(npy_intp) sizeof(dtype_{array.name})"


def _steps_are(arrays, chosen, step_of):
    """C code that asks whether the step of each of the chosen arrays is `step_of(array)`."""
    tests = [f"step[{i}] == {step_of(array)}" for i, array in enumerate(arrays) if array in chosen]
    return " && ".join(tests) or "1"


def _rows(arrays, body, step_of):
    """A loop along the innermost axis, array by array as `step_of(array)` says: "unit", "none" or "any"."""
    before, inside, result = [], [], arrays[-1]
    for i, array in enumerate(arrays):
        kind, step = f"dtype_{array.name}", step_of(array)
        if step == "none":
            before.append(f"const {kind} {array.name}_i = *({kind}*) at[{i}];")
            continue
        place = f"at[{i}] + j * step[{i}]" if step == "any" else f"at[{i}] + j * (npy_intp) sizeof({kind})"
        if array is result:
            inside.append(f"*({kind}*) ({place}) = result;")
        else:
            inside.insert(0, f"const {kind} {array.name}_i = *({kind}*) ({place});")
    inside.insert(-1, f"dtype_{result.name} result; {body}")
    return f"{' '.join(before)}\n#pragma GCC ivdep\nfor (npy_intp j = 0; j < some; j++) {{ {' '.join(inside)} }}"


def _reads_scalars(node):
    """Whether scalars of the graph are among the operands, and no operand is broadcast but they."""
    pattern = node.outputs[0].broadcastable
    if not all(v.broadcastable == pattern or all(v.broadcastable) for v in node.inputs):
        return False
    return any(all(v.broadcastable) and not isinstance(v, tt.Constant) for v in node.inputs)


def _reads_large_variable(node):
    """Whether a float32 shared variable that is worth a second thread is an operand, as in an optimizer's updates."""
    return all(v.dtype == "float32" for v in node.inputs + node.outputs) and any(
        isinstance(v, theano.compile.SharedVariable) and v.get_value(borrow=True).size > PARALLEL_MIN
        for v in node.inputs
    )


@local_optimizer([tt.Elemwise])
def local_vectorize(node):
    """An Elemwise that calls elementary functions, takes scalars of the graph or updates a large variable, in float32
    -> a VectorElemwise"""
    op = node.op
    if type(op) is not tt.Elemwise or op.inplace_pattern or len(node.outputs) > 1:
        return False
    if all(node.outputs[0].broadcastable):
        return False
    scalar_op = with_inlined(op.scalar_op, [v.dtype for v in node.inputs])
    if scalar_op is None and type(op.scalar_op) is theano.scalar.Composite and _reads_scalars(node):
        scalar_op = op.scalar_op
    if scalar_op is None and _reads_large_variable(node):
        scalar_op = op.scalar_op
    if scalar_op is None:
        return False
    new = VectorElemwise(scalar_op)(*node.inputs)
    copy_stack_trace(node.outputs[0], new)
    return [new]
