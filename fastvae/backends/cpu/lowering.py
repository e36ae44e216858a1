"""Abstract Ops and some of Theano's become the CPU's; `register()` puts all rewrites of the backend into optdb.

The table of names and positions is in `fastvae.backends.cpu.register`. What becomes what, each file of `cpu/ops`
declares.
"""

from theano.compile import optdb
from theano.gof import TopoOptimizer
from theano.gof.opt import in2out
from theano.tensor.opt import InplaceElemwiseOptimizer

from fastvae.backends.compiled_op import import_modules, local_inplace
from fastvae.backends.cpu import layout, ops, reshape, vectorize
from fastvae.backends.cpu.op import lowering
from fastvae.backends.cpu.ops import concatenate
from fastvae.backends.cpu.ops.adam_of_product import local_adam_of_product
from fastvae.backends.cpu.ops.batch_norm import local_fuse_activation
from fastvae.backends.cpu.ops.convolution import local_winograd
from fastvae.backends.rewrites import equilibrium, fuse, lift, recognise


def register(winograd):
    """Put the rewrites into Theano's optdb, once a process."""
    if "fastvae_onednn_lower" in optdb.__db__:
        return
    import_modules(ops)

    def add(name, position, rewrite, *tags):
        optdb.register(f"fastvae_onednn_{name}", rewrite, position, "fast_run", "fastvae_onednn", *tags)

    add("recognise", 0.04, in2out(lowering("recognise"), name="fastvae_onednn_recognise"))
    add("lift", 0.05, in2out(lift.local_lift_convolution, lowering("lift"), name="fastvae_onednn_lift"))
    # Once on the graph as its author wrote it (later Theano moves a ReLU behind the reshape that follows it), once
    # where simplification has removed what else looked at a product.
    early = (fuse.local_fuse_bias, fuse.local_fuse_relu, fuse.local_fuse_activation)
    add("fuse_early", 0.06, equilibrium(recognise.local_recognise, *early))
    # Stock ones only then: until simplification is done the logarithm of a sigmoid may still become a softplus.
    late = (*early, fuse.local_fuse_stock_activation, fuse.local_fuse_bias_gradient)
    add("fuse", 1.610, equilibrium(*late))
    add("lower", 1.620, in2out(lowering("lower"), name="fastvae_onednn_lower"))
    if winograd:
        add("winograd", 1.625, in2out(local_winograd, name="fastvae_onednn_winograd"))
    add("layout", 1.630, equilibrium(*layout.LAYOUTS, *concatenate.LAYOUTS))
    views = (reshape.local_sink_unflatten, reshape.local_cancel_unflatten, reshape.local_sum_unflatten)
    add("reshape", 1.635, equilibrium(*views))
    add("batch_norm", 1.637, in2out(local_fuse_activation, name="fastvae_onednn_batch_norm"))
    add("passes", 1.640, in2out(lowering("passes"), name="fastvae_onednn_passes"))
    add("product", 1.720, in2out(lowering("product"), name="fastvae_onednn_product"))
    add("adam", 1.730, in2out(local_adam_of_product, name="fastvae_onednn_adam"))
    # After Theano's fusion of element-wise Ops (49) and its last rewrites of reductions.
    add("vectorize", 49.100, in2out(vectorize.local_vectorize, lowering("vectorize"), name="fastvae_onednn_vectorize"))
    # After AddDestroyHandler (49.5), where Theano's own BLAS goes in place (70).
    add("inplace", 70.100, TopoOptimizer(local_inplace, failure_callback=TopoOptimizer.warn_inplace), "inplace")
    add("overwrite", 75.100, InplaceElemwiseOptimizer(vectorize.VectorElemwise), "inplace")
