"""What keeps a step on the GPU: no copy to the host for a shape, no wait for the check of a minibatch's row numbers."""
from theano.compile import optdb
from theano.compile.ops import Shape, Shape_i
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace, in2out
from theano.tensor.subtensor import AdvancedSubtensor1

from fastvae.backends.cudnn.rows import GpuRowsInRange, RowsInRange


@local_optimizer([AdvancedSubtensor1])
def local_rows_in_range(node):
    """x[row numbers] of a minibatch, whose tag says that they are in range -> the Op that need not check them"""
    if type(node.op) is not AdvancedSubtensor1 or not getattr(node.inputs[1].tag, "in_range", False):
        return False
    new = RowsInRange()(*node.inputs)
    copy_stack_trace(node.outputs[0], new)
    return [new]


@local_optimizer([Shape, Shape_i])
def local_shape_on_device(node):
    """the shape of what was copied from the GPU -> the shape of what is there"""
    from theano.gpuarray.basic_ops import HostFromGpu

    copy = node.inputs[0].owner
    if not isinstance(node.op, (Shape, Shape_i)) or copy is None or not isinstance(copy.op, HostFromGpu):
        return False
    return [node.op(copy.inputs[0])]


def lifted_rows(op, context_name, inputs, outputs):
    """`RowsInRange` on the GPU; the form that Theano's lifters have."""
    return GpuRowsInRange()


def register():
    """Put the rewrites into Theano's optdb, once a process."""
    if "fastvae_resident_rows" in optdb.__db__:
        return
    from theano.gpuarray.opt import op_lifter, register_opt, register_opt2

    optdb.register("fastvae_resident_rows", in2out(local_rows_in_range), 0.05, "fast_run", "fastvae_cudnn")
    register_opt2([RowsInRange], "fast_compile", "fastvae_cudnn", name="fastvae_resident_move")(lifted_rows)
    register_opt("fast_compile", "fastvae_cudnn", name="fastvae_resident_lift")(op_lifter([RowsInRange])(lifted_rows))
    optdb.register("fastvae_resident_shape", in2out(local_shape_on_device), 48.7, "fast_run", "fastvae_cudnn")
