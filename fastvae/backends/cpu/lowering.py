"""Abstract Ops and BLAS products become oneDNN's; `register()` puts all rewrites of the backend into optdb.

The table of names and positions is in `fastvae.backends.cpu.register`.
"""

import theano.tensor as tt
from theano.compile import optdb
from theano.gof import TopoOptimizer, local_optimizer
from theano.gof.opt import copy_stack_trace, in2out
from theano.sandbox.rng_mrg import mrg_uniform
from theano.tensor.blas import Dot22, Dot22Scalar, Gemm
from theano.tensor.opt import InplaceElemwiseOptimizer
from theano.tensor.subtensor import AdvancedSubtensor1

from fastvae.backends import abstract
from fastvae.backends.abstract import categorical, discretized_logistic
from fastvae.backends.cpu import layout, ops, reshape, vectorize
from fastvae.backends.rewrites import equilibrium, fuse, lift


def _replaced(node, new):
    """The new outputs with the old ones' types, or False where they cannot have them."""
    new = [tt.patternbroadcast(v, old.broadcastable) for v, old in zip(new, node.outputs)]
    if any(v.type != old.type for v, old in zip(new, node.outputs)):
        return False
    copy_stack_trace(node.outputs, new)
    return new


def _all_float32(variables):
    return all(v.dtype == "float32" for v in variables)


@local_optimizer([abstract.Conv, abstract.ConvTransposed, abstract.ConvWeightsGradient])
def local_lower_convolution(node):
    """An abstract convolution on NCHW -> oneDNN's on NHWC, between changes of layout."""
    if (
        not isinstance(node.op, ops.Convolution.directions)
        or not _all_float32(node.inputs[:2])
        or not _all_float32(node.outputs)
    ):
        return False
    new = ops.Convolution(node.op)
    if not all(v.ndim == 4 or v.dtype in ("float32", "int64") for v in node.inputs):
        return False
    outputs = new(*new.on_images(node, node.inputs, ops.to_nhwc), return_list=True)
    if new.direction < 2:
        outputs[0] = ops.to_nchw(outputs[0])
    return _replaced(node, outputs)


@local_optimizer([ops.Convolution])
def local_winograd(node):
    """Let a convolution of stride 1 take Winograd's kernel, if its sizes suit that when it runs."""
    op = node.op
    if not isinstance(op, ops.Convolution) or op.winograd:
        return False
    if (op.meaning.stride, op.meaning.dilation, op.meaning.groups) != ((1, 1), (1, 1), 1):
        return False
    return _replaced(node, ops.Convolution(op.meaning, winograd=True)(*node.inputs, return_list=True))


LAYERS = (abstract.Dense, abstract.Unflatten, abstract.AdamStep)


@local_optimizer(LAYERS)
def local_lower_layer(node):
    """An abstract dense layer, Unflatten or Adam step -> oneDNN's."""
    if not isinstance(node.op, LAYERS) or not _all_float32(node.inputs):
        return False
    if isinstance(node.op, abstract.Unflatten):
        return _replaced(node, [ops.Unflatten(node.op)(*node.inputs)])
    if isinstance(node.op, abstract.AdamStep):
        if not node.op.is_compilable(*node.inputs):
            return False
        return _replaced(node, ops.Adam(node.op, len(node.outputs) // 3)(*node.inputs, return_list=True))
    return _replaced(node, [_matmul(*node.inputs, activation=node.op.activation)])


def _matmul(x, w, *bias, activation=None):
    """x w, taking matrices from under a transposition."""

    def is_transposed(v):
        return v.owner is not None and isinstance(v.owner.op, tt.DimShuffle) and v.owner.op.new_order == (1, 0)

    transposed = is_transposed(x), is_transposed(w)
    x, w = (v.owner.inputs[0] if t else v for v, t in zip((x, w), transposed))
    return ops.MatMul(activation, transposed)(x, w, *bias)


PIXELS = (
    categorical.CategoricalLogProb,
    categorical.CategoricalLogProbGradient,
    discretized_logistic.DiscretizedLogisticLogProb,
    discretized_logistic.DiscretizedLogisticLogProbGradient,
)


@local_optimizer(PIXELS)
def local_lower_pixels(node):
    """Log-probabilities of levels, or their gradient -> oneDNN's, on NHWC where a convolution is the decoder's end"""
    if not isinstance(node.op, PIXELS) or not _all_float32(node.inputs):
        return False
    x, of_decoder, *rest = node.inputs
    last = of_decoder.owner is not None and of_decoder.owner.op == ops.to_nchw
    of_decoder = ops.to_nhwc(of_decoder) if last else of_decoder
    outputs = ops.OfPixels(node.op, last)(x, of_decoder, *rest, return_list=True)
    return _replaced(node, [ops.to_nchw(outputs[0])] if last and rest else outputs)


@local_optimizer([tt.Elemwise])
def local_lower_relu_gradient(node):
    """relu_gradient(y, g) of two tensors of one shape -> one threaded pass"""
    if node.op != abstract.relu_gradient or not _all_float32(node.inputs):
        return False
    y, g = node.inputs
    if not 1 <= g.ndim <= 4 or any(y.broadcastable) or any(g.broadcastable):
        return False
    return _replaced(node, [ops.ReluGradient()(y, g)])


@local_optimizer([tt.elemwise.Sum])
def local_lower_total(node):
    """the sum of a float32 tensor over all its axes -> one threaded pass"""
    x = node.inputs[0]
    if not isinstance(node.op, tt.elemwise.Sum) or x.dtype != "float32" or x.ndim < 2 or node.outputs[0].ndim:
        return False
    return _replaced(node, [ops.Total()(x)])


@local_optimizer([AdvancedSubtensor1])
def local_lower_rows(node):
    """x[row numbers], as a minibatch draws them -> one threaded copy"""
    if not isinstance(node.op, AdvancedSubtensor1):
        return False
    x, numbers = node.inputs
    if x.dtype not in ("float32", "uint8") or numbers.dtype != "int64":
        return False
    return _replaced(node, [ops.TakeRows()(x, numbers)])


@local_optimizer([mrg_uniform])
def local_lower_uniform(node):
    """Theano's random numbers -> the same ones in vector code"""
    if type(node.op) is not mrg_uniform or node.op.inplace or node.outputs[1].dtype != "float32":
        return False
    states, shape = node.inputs
    new = ops.Uniform(node.outputs[1].broadcastable)(states, tt.cast(shape, "int64"), return_list=True)
    return _replaced(node, new)


@local_optimizer([Dot22, Dot22Scalar, Gemm])
def local_lower_product(node):
    """BLAS's matrix products -> oneDNN's, so that one thread pool computes them all."""
    if not isinstance(node.op, (Dot22, Dot22Scalar, Gemm)) or not _all_float32(node.inputs):
        return False
    if isinstance(node.op, Gemm):
        return _replaced(node, [ops.Gemm()(*node.inputs)])
    product = _matmul(*node.inputs[:2])
    return _replaced(node, [product * node.inputs[2] if isinstance(node.op, Dot22Scalar) else product])


INPLACE = (ops.ReluGradient, ops.Gemm, ops.Adam, ops.Uniform)


@local_optimizer(INPLACE, inplace=True)
def local_inplace(node):
    """ReLU gradient, Gemm, Adam and random numbers overwrite their operands where nobody needs these any more."""
    if not isinstance(node.op, INPLACE) or node.op.inplace:
        return False
    settings = [getattr(node.op, name) for name in node.op.__props__ if name != "inplace"]
    new = type(node.op)(*settings, inplace=True)(*node.inputs, return_list=True)
    copy_stack_trace(node.outputs, new)
    return new


def register(winograd):
    """Put the rewrites into Theano's optdb, once a process."""
    if "fastvae_onednn_lower" in optdb.__db__:
        return

    def add(name, position, rewrite, *tags):
        optdb.register(f"fastvae_onednn_{name}", rewrite, position, "fast_run", "fastvae_onednn", *tags)

    add("lift", 0.05, in2out(lift.local_lift_convolution, reshape.local_reshape_like, name="fastvae_onednn_lift"))
    # Once on the graph as its author wrote it (later Theano moves a ReLU behind the reshape that follows it), once
    # where simplification has removed what else looked at a product.
    add("fuse_early", 0.06, equilibrium(fuse.local_fuse_bias, fuse.local_fuse_relu))
    # A sigmoid only then: until simplification is done its logarithm may still become a softplus.
    late = (fuse.local_fuse_bias, fuse.local_fuse_relu, fuse.local_fuse_sigmoid, fuse.local_fuse_bias_gradient)
    add("fuse", 1.610, equilibrium(*late))
    lowering = (local_lower_convolution, local_lower_layer, local_lower_pixels)
    add("lower", 1.620, in2out(*lowering, name="fastvae_onednn_lower"))
    if winograd:
        add("winograd", 1.625, in2out(local_winograd, name="fastvae_onednn_winograd"))
    layouts = (layout.local_cancel_layouts, layout.local_sink_layout, layout.local_lift_layout, layout.local_sum_layout)
    add("layout", 1.630, equilibrium(*layouts, layout.local_column_sum))
    views = (reshape.local_sink_unflatten, reshape.local_cancel_unflatten, reshape.local_sum_unflatten)
    add("reshape", 1.635, equilibrium(*views))
    passes = (local_lower_relu_gradient, local_lower_rows, local_lower_total, local_lower_uniform)
    add("passes", 1.640, in2out(*passes, name="fastvae_onednn_passes"))
    add("product", 1.720, in2out(local_lower_product, name="fastvae_onednn_product"))
    # After Theano's fusion of element-wise Ops (49).
    add("vectorize", 49.100, in2out(vectorize.local_vectorize, name="fastvae_onednn_vectorize"))
    # After AddDestroyHandler (49.5), where Theano's own BLAS goes in place (70).
    add("inplace", 70.100, TopoOptimizer(local_inplace, failure_callback=TopoOptimizer.warn_inplace), "inplace")
    add("overwrite", 75.100, InplaceElemwiseOptimizer(vectorize.VectorElemwise), "inplace")
