"""Abstract convolutions become cuDNN's on the GPU; `register()` puts all rewrites of the backend into optdb.

The table of names and positions is in `fastvae.backends.cudnn.register`.
"""
import theano.tensor as tt
from theano.compile import optdb
from theano.gof import EquilibriumOptimizer, MergeOptimizer, local_optimizer
from theano.gof.opt import copy_stack_trace, in2out

from fastvae.backends import abstract
from fastvae.backends.cudnn.ops import DIRECTIONS, Convolution, Waiting, is_supported
from fastvae.backends.rewrites import fuse, lift
from fastvae.backends.stock import activate


def _bare(node):
    """The convolution that cuDNN computes, its inputs, and the bias and activation that must follow it."""
    op, inputs = node.op, node.inputs
    if isinstance(op, abstract.ConvWeightsGradient):
        return op, inputs, [], None
    bias, rest = inputs[2:3], []
    if isinstance(op, abstract.ConvTransposed):
        bias, rest = op.options(inputs)
    elif bias and op.activation == "relu":
        return op, inputs, [], None
    return type(op)(None, **op.geometry), [*inputs[:2], *rest], bias, op.activation


@local_optimizer(DIRECTIONS)
def local_defer_convolution(node):
    """An abstract float32 convolution -> one that waits for the GPU, its bias and activation behind it."""
    if not isinstance(node.op, DIRECTIONS) or not is_supported(node.op):
        return False
    if any(v.dtype != "float32" for v in (*node.inputs[:2], *node.outputs)):
        return False
    op, inputs, bias, activation = _bare(node)
    new = Waiting(op)(*inputs, return_list=True)
    if bias:
        new[0] += bias[0].dimshuffle("x", 0, "x", "x")
    new[0] = activate(new[0], activation)
    new = [tt.patternbroadcast(v, old.broadcastable) for v, old in zip(new, node.outputs)]
    copy_stack_trace(node.outputs, new)
    return new


def lifted(op, context_name, inputs, outputs):
    """A waiting convolution -> cuDNN's, on the device of a context; the form that Theano's lifters have."""
    from theano.gpuarray.basic_ops import as_gpuarray_variable

    n = 3 if Convolution(op.meaning).has_bias else 2
    inputs = [*(as_gpuarray_variable(v, context_name) for v in inputs[:n]), *inputs[n:]]
    new = Convolution(op.meaning)(*inputs, return_list=True)
    return [_typed(v, old) for v, old in zip(new, outputs)]


def _typed(variable, old):
    """The variable with another's broadcastable axes."""
    return variable if variable.broadcastable == old.broadcastable else tt.patternbroadcast(variable, old.broadcastable)


@local_optimizer([Waiting])
def local_transfer_convolution(node):
    """A convolution that still waits -> cuDNN's between transfers."""
    if not isinstance(node.op, Waiting):
        return False
    return [v.transfer("cpu") for v in lifted(node.op, None, node.inputs, node.outputs)]


def _equilibrium(*rewrites):
    """Apply the rewrites, merging equal nodes in between, until nothing changes."""
    return EquilibriumOptimizer(
        [*rewrites], max_use_ratio=20, ignore_newtrees=False, cleanup_optimizers=[MergeOptimizer()]
    )


def register():
    """Put the rewrites into Theano's optdb, once a process."""
    if "fastvae_cudnn_defer" in optdb.__db__:
        return
    from theano.gpuarray.opt import op_lifter, register_opt, register_opt2

    def add(name, position, rewrite):
        optdb.register(f"fastvae_cudnn_{name}", rewrite, position, "fast_run", "fastvae_cudnn")

    add("lift", 0.05, in2out(lift.local_lift_convolution, name="fastvae_cudnn_lift"))
    add("fuse_early", 0.06, _equilibrium(fuse.local_fuse_bias, fuse.local_fuse_relu))
    late = (fuse.local_fuse_bias, fuse.local_fuse_relu, fuse.local_fuse_bias_gradient)
    add("fuse", 1.610, _equilibrium(*late))
    add("defer", 1.620, in2out(local_defer_convolution, name="fastvae_cudnn_defer"))
    # Theano moves a graph in two passes, which have a list of lifters each.
    register_opt2([Waiting], "fast_compile", "fastvae_cudnn", name="fastvae_cudnn_move")(lifted)
    register_opt("fast_compile", "fastvae_cudnn", name="fastvae_cudnn_lift_waiting")(op_lifter([Waiting])(lifted))
    add("transfer", 48.600, in2out(local_transfer_convolution, name="fastvae_cudnn_transfer"))
