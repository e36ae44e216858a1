"""Fused element-wise passes that take a scalar from the graph run as vector code.

Theano's loop over contiguous tensors reads such a scalar by reference in every step; the compiler cannot know that the
pass does not overwrite it, and computes one element at a time. Here it is read once, before the loop.
"""

import theano
import theano.tensor as tt
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace
from theano.gof.utils import MethodNotDefined


class VectorComposite(theano.scalar.Composite):
    """A Composite whose loop over contiguous tensors and scalars is made for vector code."""

    def c_code_contiguous(self, node, name, inputs, outputs, sub):
        if not _is_tensors_and_scalars(node):
            raise MethodNotDefined()
        names, declarations = [], []
        for i, (array, variable) in enumerate(zip(inputs, node.inputs)):
            kind, is_scalar = variable.type.dtype_specs()[1], all(variable.broadcastable)
            data = f"({kind}*) PyArray_DATA({array})"
            declarations.append(f"const {kind} in{i} = *{data};" if is_scalar else f"{kind}* in{i} = {data};")
            names.append(f"in{i}" if is_scalar else f"in{i}[i]")
        kind = node.outputs[0].type.dtype_specs()[1]
        body = self.c_code(node.tag.fake_node, name, names, ["result"], sub)
        return f"""
            {" ".join(declarations)}
            {kind}* out = ({kind}*) PyArray_DATA({outputs[0]});
            const npy_intp n = PyArray_SIZE({outputs[0]});
            #pragma GCC ivdep
            for (npy_intp i = 0; i < n; i++) {{
                {kind} result;
                {body}
                out[i] = result;
            }}
        """


def _is_tensors_and_scalars(node):
    """Whether one tensor comes out, and every input has its broadcast pattern or is a scalar."""
    if len(node.outputs) > 1 or all(node.outputs[0].broadcastable):
        return False
    pattern = node.outputs[0].broadcastable
    return all(v.broadcastable == pattern or all(v.broadcastable) for v in node.inputs)


@local_optimizer([tt.Elemwise])
def local_vectorize(node):
    """A Composite of tensors and scalars that are no constants -> a VectorComposite"""
    op = node.op
    if not isinstance(op, tt.Elemwise):
        return False
    if type(op.scalar_op) is not theano.scalar.Composite or op.inplace_pattern or not _is_tensors_and_scalars(node):
        return False
    if not any(all(v.broadcastable) and not isinstance(v, tt.Constant) for v in node.inputs):
        return False
    new = tt.Elemwise(VectorComposite(op.scalar_op.inputs, op.scalar_op.outputs))(*node.inputs)
    copy_stack_trace(node.outputs[0], new)
    return [new]
