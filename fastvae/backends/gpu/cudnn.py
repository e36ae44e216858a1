"""Abstract convolutions become cuDNN's on the GPU; `register()` puts these rewrites into optdb.

The table of names and positions is in `fastvae.backends.gpu.register`.
"""

import theano.tensor as tt
from theano.compile import optdb
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace, in2out

from fastvae.backends import abstract
from fastvae.backends.abstract.op import activate
from fastvae.backends.gpu.ops import DIRECTIONS, Waiting, is_supported
from fastvae.backends.rewrites import equilibrium, fuse, lift


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


def register():
    """Put the rewrites into Theano's optdb, once a process."""
    if "fastvae_cudnn_defer" in optdb.__db__:
        return

    def add(name, position, rewrite):
        optdb.register(f"fastvae_cudnn_{name}", rewrite, position, "fast_run", "fastvae_gpu")

    add("lift", 0.05, in2out(lift.local_lift_convolution, name="fastvae_cudnn_lift"))
    add("fuse_early", 0.06, equilibrium(fuse.local_fuse_bias, fuse.local_fuse_relu))
    late = (fuse.local_fuse_bias, fuse.local_fuse_relu, fuse.local_fuse_bias_gradient)
    add("fuse", 1.610, equilibrium(*late))
    add("defer", 1.620, in2out(local_defer_convolution, name="fastvae_cudnn_defer"))
