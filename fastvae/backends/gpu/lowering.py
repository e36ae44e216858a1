"""Abstract Ops move to the GPU with the rest of the graph; `register()` puts these rewrites into optdb.

The table of names and positions is in `fastvae.backends.gpu.register`. What becomes what, each file of `gpu/ops`
declares.
"""

from theano.compile import optdb
from theano.gof import TopoOptimizer, local_optimizer
from theano.gof.opt import in2out
from theano.gpuarray.opt import op_lifter, register_opt, register_opt2

from fastvae.backends.compiled_op import import_modules, local_inplace
from fastvae.backends.gpu import ops
from fastvae.backends.gpu.op import Deferred, lowers, replaced, typed
from fastvae.backends.gpu.ops import batch_norm
from fastvae.backends.rewrites import equilibrium, fuse, lift


def deferring(engine):
    """The rewrite that lets abstract Ops wait until Theano moves them; the engine, "gpu" or "cudnn", says which Ops."""

    @local_optimizer(None)
    def local_defer(node):
        for op in lowers.rules(node.op):
            new = op.defer(node) if op.engine == engine else None
            if new is not None:
                return replaced(node, new)
        return False

    return local_defer


def _op_of(deferred):
    return next(lowers.rules(deferred.abstract_op))


def lifted(op, context_name, inputs, outputs):
    """A deferred Op -> that of the GPU, on the device of a context; the form that Theano's lifters have."""
    return typed(_op_of(op).on_gpu(op, context_name, inputs, outputs), outputs)


@local_optimizer([Deferred])
def local_end_deferred(node):
    """A deferred Op that nothing on the GPU touches -> what its file says, such as its stock expression."""
    if not isinstance(node.op, Deferred):
        return False
    return typed(_op_of(node.op).on_host(node), node.outputs)


def register():
    """Put the rewrites that need no cuDNN into Theano's optdb, once a process."""
    if "fastvae_gpu_defer" in optdb.__db__:
        return
    import_modules(ops)

    def add(name, position, rewrite, *tags):
        optdb.register(f"fastvae_gpu_{name}", rewrite, position, "fast_run", "fastvae_gpu", *tags)

    add("defer", 1.620, in2out(deferring("gpu"), name="fastvae_gpu_defer"))
    # Theano moves a graph in two passes, which have a list of lifters each.
    register_opt2([Deferred], "fast_compile", "fastvae_gpu", name="fastvae_gpu_move")(lifted)
    register_opt("fast_compile", "fastvae_gpu", name="fastvae_gpu_lift")(op_lifter([Deferred])(lifted))
    add("batch_norm", 1.625, in2out(batch_norm.local_fuse_activation, name="fastvae_gpu_batch_norm"))
    add("end", 48.600, in2out(local_end_deferred, name="fastvae_gpu_end"))
    # After AddDestroyHandler (49.5), where Theano's own BLAS goes in place (70).
    add("inplace", 70.100, TopoOptimizer(local_inplace, failure_callback=TopoOptimizer.warn_inplace), "inplace")


def register_cudnn():
    """Put the rewrites of convolutions into Theano's optdb, once a process."""
    if "fastvae_cudnn_defer" in optdb.__db__:
        return

    def add(name, position, rewrite):
        optdb.register(f"fastvae_cudnn_{name}", rewrite, position, "fast_run", "fastvae_gpu")

    add("lift", 0.05, in2out(lift.local_lift_convolution, name="fastvae_cudnn_lift"))
    add("fuse_early", 0.06, equilibrium(fuse.local_fuse_bias, fuse.local_fuse_relu))
    late = (fuse.local_fuse_bias, fuse.local_fuse_relu, fuse.local_fuse_bias_gradient)
    add("fuse", 1.610, equilibrium(*late))
    add("defer", 1.620, in2out(deferring("cudnn"), name="fastvae_cudnn_defer"))
