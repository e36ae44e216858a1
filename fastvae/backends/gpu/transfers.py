"""What spares a step transfers from and to the GPU, and the waits that they are.

Nothing is copied for a shape, for a product's factor or for a test whether something is true, a scalar only when it
changed, and a minibatch's row numbers are not checked.
"""

import functools

import numpy as np
import theano.tensor as tt
from theano import scalar
from theano.compile import optdb
from theano.compile.ops import Shape, Shape_i
from theano.gof import local_optimizer
from theano.gof.graph import inputs
from theano.gof.opt import copy_stack_trace, in2out
from theano.gpuarray.basic_ops import GpuFromHost, HostFromGpu
from theano.gpuarray.blas import GpuGemm, GpuGemv, GpuGer
from theano.gpuarray.elemwise import GpuDimShuffle, GpuElemwise
from theano.gpuarray.opt import op_lifter, register_opt, register_opt2
from theano.sandbox.rng_mrg import mrg_uniform
from theano.tensor.elemwise import All, Any
from theano.tensor.opt import MakeVector, register_canonicalize
from theano.tensor.subtensor import AdvancedSubtensor1

from fastvae.backends.gpu.copies import CopyWhenNew
from fastvae.backends.gpu.rows import GpuRowsInRange, RowsInRange


@local_optimizer([AdvancedSubtensor1])
def local_rows_in_range(node):
    """x[row numbers] of a minibatch, whose tag says that they are in range -> the Op that need not check them"""
    if type(node.op) is not AdvancedSubtensor1 or not getattr(node.inputs[1].tag, "in_range", False):
        return False
    new = RowsInRange()(*node.inputs)
    copy_stack_trace(node.outputs[0], new)
    return [new]


@local_optimizer([Shape_i])
def local_shape_of_uniform(node):
    """the size of an axis of random numbers -> what they were asked for, which may be a constant"""
    numbers = node.inputs[0].owner
    if not isinstance(node.op, Shape_i) or numbers is None or not isinstance(numbers.op, mrg_uniform):
        return False
    if node.inputs[0] is not numbers.outputs[1]:
        return False
    return [tt.cast(tt.as_tensor_variable(numbers.inputs[1])[node.op.i], "int64")]


@local_optimizer([Shape, Shape_i])
def local_shape_on_device(node):
    """the shape of what was copied from the GPU -> the shape of what is there"""
    copy = node.inputs[0].owner
    if not isinstance(node.op, (Shape, Shape_i)) or copy is None or not isinstance(copy.op, HostFromGpu):
        return False
    return [node.op(copy.inputs[0])]


@local_optimizer([Any, All])
def local_truth_on_device(node):
    """whether any is true -> whether their sum is above 0; whether all of some scalars are -> element-wise"""
    if not isinstance(node.op, (Any, All)):
        return False
    (truths,) = node.inputs
    if isinstance(node.op, Any) and truths.dtype == "bool" and truths.ndim:
        return [tt.gt(tt.sum(tt.cast(truths, "float32"), axis=node.op.axis), np.float32(0))]
    if isinstance(node.op, All) and truths.owner is not None and isinstance(truths.owner.op, MakeVector):
        return [functools.reduce(tt.and_, truths.owner.inputs)]
    return False


@local_optimizer([GpuGemm, GpuGemv, GpuGer])
def local_factor_on_device(node):
    """a factor of a product, which BLAS takes from the host, that changes from step to step -> an operand is scaled"""
    if not isinstance(node.op, (GpuGemm, GpuGemv, GpuGer)):
        return False
    factor, operand = node.inputs[1], node.inputs[3]
    if factor.owner is not None and isinstance(factor.owner.op, HostFromGpu):
        there = factor.owner.inputs[0]
    elif any(isinstance(v.type, tt.TensorType) and not isinstance(v, tt.Constant) for v in inputs([factor])):
        there = GpuFromHost(operand.type.context_name)(factor)
    else:
        return False
    spread = GpuDimShuffle(there.broadcastable, ["x"] * operand.ndim)(there)
    scaled = GpuElemwise(scalar.mul)(operand, spread)
    new = node.op(node.inputs[0], tt.constant(np.float32(1)), node.inputs[2], scaled, *node.inputs[4:])
    copy_stack_trace(node.outputs[0], [scaled, new])
    return [new]


@local_optimizer([GpuFromHost])
def local_copy_when_new(node):
    """the copy of a few numbers of the host, which are mostly the same in every step -> one only when they changed"""
    if not isinstance(node.op, GpuFromHost):
        return False
    source = node.inputs[0]
    is_vector = source.owner is not None and isinstance(source.owner.op, MakeVector)
    if isinstance(source, tt.Constant) or (source.ndim and not is_vector):
        return False
    return [CopyWhenNew()(source, node.outputs[0].type)]


def lifted_rows(op, context_name, inputs, outputs):
    """`RowsInRange` on the GPU; the form that Theano's lifters have."""
    return GpuRowsInRange()


def register():
    """Put the rewrites into Theano's optdb, once a process."""
    if "fastvae_gpu_rows" in optdb.__db__:
        return

    def tags(former):
        return "fastvae_gpu", f"fastvae_resident_{former}"  # its former name still excludes a rewrite

    optdb.register("fastvae_gpu_rows", in2out(local_rows_in_range), 0.05, "fast_run", *tags("rows"))
    register_opt2([RowsInRange], "fast_compile", *tags("move"), name="fastvae_gpu_rows_move")(lifted_rows)
    register_opt("fast_compile", *tags("lift"), name="fastvae_gpu_rows_lift")(op_lifter([RowsInRange])(lifted_rows))
    register_canonicalize(local_shape_of_uniform, *tags("size"), name="fastvae_gpu_size")
    optdb.register("fastvae_gpu_truth", in2out(local_truth_on_device), 1.6, "fast_run", *tags("truth"))
    optdb.register("fastvae_gpu_factor", in2out(local_factor_on_device), 48.65, "fast_run", *tags("factor"))
    optdb.register("fastvae_gpu_shape", in2out(local_shape_on_device), 48.7, "fast_run", *tags("shape"))
    optdb.register("fastvae_gpu_copy", in2out(local_copy_when_new), 48.8, "fast_run", *tags("copy"))
