"""Abstract Ops move to the GPU with the rest of the graph; `register()` puts these rewrites into optdb.

The table of names and positions is in `fastvae.backends.gpu.register`.
"""

import theano.tensor as tt
from theano import scalar
from theano.compile import optdb
from theano.gof import TopoOptimizer, local_optimizer
from theano.gof.opt import copy_stack_trace, in2out
from theano.gpuarray.basic_ops import as_gpuarray_variable
from theano.gpuarray.elemwise import GpuCAReduceCuda
from theano.gpuarray.opt import op_lifter, register_opt, register_opt2

from fastvae.backends import abstract
from fastvae.backends.gpu.ops import Adam, Convolution, Waiting


@local_optimizer([abstract.AdamStep])
def local_defer_adam(node):
    """A float32 Adam step -> one that waits for the GPU."""
    if not isinstance(node.op, abstract.AdamStep) or not node.op.is_compilable(*node.inputs):
        return False
    new = Waiting(node.op)(*node.inputs, return_list=True)
    copy_stack_trace(node.outputs, new)
    return new


def lifted(op, context_name, inputs, outputs):
    """A waiting Op -> that of the GPU, on the device of a context; the form that Theano's lifters have."""
    if isinstance(op.meaning, abstract.AdamStep):
        new = Adam(op.meaning, len(outputs) // 3)(*(as_gpuarray_variable(v, context_name) for v in inputs))
        return [_typed(v, old) for v, old in zip(new, outputs)]
    n = 3 if Convolution(op.meaning).has_bias else 2
    inputs = [*(as_gpuarray_variable(v, context_name) for v in inputs[:n]), *inputs[n:]]
    new = Convolution(op.meaning)(*inputs, return_list=True)
    return [_typed(v, old) for v, old in zip(new, outputs)]


def _typed(variable, old):
    """The variable with another's broadcastable axes."""
    return variable if variable.broadcastable == old.broadcastable else tt.patternbroadcast(variable, old.broadcastable)


@local_optimizer([Waiting])
def local_end_waiting(node):
    """What nothing on the GPU touches: a convolution -> cuDNN's between transfers; an Adam step stays on the host"""
    if not isinstance(node.op, Waiting):
        return False
    if isinstance(node.op.meaning, abstract.AdamStep):
        return node.op.meaning.stock(*node.inputs)
    return [v.transfer("cpu") for v in lifted(node.op, None, node.inputs, node.outputs)]


@local_optimizer([Adam], inplace=True)
def local_adam_inplace(node):
    """Adam overwrites parameters and moments where nobody needs the old ones any more."""
    if not isinstance(node.op, Adam) or node.op.inplace:
        return False
    new = Adam(node.op.meaning, node.op.n_parameters, inplace=True)(*node.inputs, return_list=True)
    copy_stack_trace(node.outputs, new)
    return new


@local_optimizer([GpuCAReduceCuda])
def local_sum_in_two_stages(node):
    """the sum over a batch of images -> the sum of each, then theirs: Theano's kernel has one block for the whole"""
    op = node.op
    if not isinstance(op, GpuCAReduceCuda) or not isinstance(op.scalar_op, scalar.Add):
        return False
    ndim = node.inputs[0].ndim
    if ndim < 3 or not all(op.reduce_mask):
        return False
    types = dict(dtype=op.dtype, acc_dtype=op.acc_dtype)
    mask = (0, *[1] * (ndim - 1))
    each = GpuCAReduceCuda(op.scalar_op, range(1, ndim), mask, pre_scalar_op=op.pre_scalar_op, **types)
    total = GpuCAReduceCuda(op.scalar_op, (0,), (1,), **types)(each(*node.inputs))
    copy_stack_trace(node.outputs[0], total)
    return [total]


def register():
    """Put the rewrites into Theano's optdb, once a process."""
    if "fastvae_gpu_defer" in optdb.__db__:
        return

    def add(name, position, rewrite, *tags):
        optdb.register(f"fastvae_gpu_{name}", rewrite, position, "fast_run", "fastvae_gpu", *tags)

    add("defer", 1.620, in2out(local_defer_adam, name="fastvae_gpu_defer"))
    # Theano moves a graph in two passes, which have a list of lifters each.
    register_opt2([Waiting], "fast_compile", "fastvae_gpu", name="fastvae_gpu_move")(lifted)
    register_opt("fast_compile", "fastvae_gpu", name="fastvae_gpu_lift")(op_lifter([Waiting])(lifted))
    add("sum", 48.550, in2out(local_sum_in_two_stages, name="fastvae_gpu_sum"))
    add("end", 48.600, in2out(local_end_waiting, name="fastvae_gpu_end"))
    # After AddDestroyHandler (49.5), where Theano's own BLAS goes in place (70).
    add("inplace", 70.100, TopoOptimizer(local_adam_inplace, failure_callback=TopoOptimizer.warn_inplace), "inplace")
