"""A convolution, or one of its gradients, through cuDNN, NCHW."""

from theano.compile.sharedvalue import SharedVariable
from theano.gof import Apply
from theano.gpuarray.basic_ops import HostFromGpu, as_gpuarray_variable, gpu_contiguous, infer_context_name
from theano.gpuarray.elemwise import GpuDimShuffle
from theano.gpuarray.type import GpuArrayType

from fastvae.backends import abstract
from fastvae.backends.gpu.op import Deferred, GpuOp, lowers

_HALF, _FULL = -1, -2  # as in c_code/convolution.c


@lowers(abstract.Conv, abstract.ConvTransposed, abstract.ConvWeightsGradient)
class Convolution(GpuOp):
    """An abstract convolution Op (`Conv`, `ConvTransposed` or `ConvWeightsGradient`) on the GPU.

    Inputs are those of the abstract Op; its operands, two tensors and a bias, are on the GPU, `like` anywhere. A bias
    comes with ReLU, and both only with `Conv`: cuDNN fuses no other.
    """

    __props__ = ("abstract_op",)
    engine = "cudnn"

    def __init__(self, abstract_op):
        self.abstract_op = abstract_op
        self.direction = abstract_op.direction

    @classmethod
    def defer(cls, node):
        """The convolution alone, its bias and activation behind it unless cuDNN fuses them."""
        if not _is_supported(node.op) or any(v.dtype != "float32" for v in (*node.inputs[:2], *node.outputs)):
            return None
        forward = _as_forward(node)
        if forward is not None:
            return forward
        op, inputs, bias, activation = _bare(node)
        new = Deferred(op)(*inputs, return_list=True)
        if bias:
            new[0] += bias[0].dimshuffle("x", 0, "x", "x")
        new[0] = abstract.activate(new[0], activation)
        return new

    @classmethod
    def on_gpu(cls, deferred, context_name, inputs, outputs):
        op = cls(deferred.abstract_op)
        operands = [as_gpuarray_variable(v, context_name) for v in inputs[: op.n_operands]]
        if operands[1].owner and isinstance(operands[1].owner.op, GpuDimShuffle):
            # As an Op of its own the copy may share a launch; the C code would need one for it.
            operands[1] = gpu_contiguous(operands[1])
        return op(*operands, *inputs[op.n_operands :], return_list=True)

    @classmethod
    def on_host(cls, node):
        """Still cuDNN's, between transfers."""
        return [v.transfer("cpu") for v in cls.on_gpu(node.op, None, node.inputs, node.outputs)]

    def __str__(self):
        return f"CuDNN{self.abstract_op}"

    def make_node(self, *inputs):
        context = infer_context_name(*inputs)
        n = self.n_operands
        like = [v.transfer("cpu") if v.ndim == 1 else v for v in inputs[n:]]
        inputs = [*(as_gpuarray_variable(v, context) for v in inputs[:n]), *like]
        outputs = [[inputs[0].broadcastable[0], False, False, False] if self.direction < 2 else [False] * 4]
        outputs += [[False]] * bool(self.sum_of)
        return Apply(self, inputs, [GpuArrayType("float32", pattern, context_name=context)() for pattern in outputs])

    def infer_shape(self, node, shapes):
        return self.abstract_op.infer_shape(node, shapes)

    @property
    def has_bias(self):
        return getattr(self.abstract_op, "activation", None) == "relu"

    @property
    def n_operands(self):
        return 3 if self.has_bias else 2

    @property
    def sum_of(self):
        return {None: 0, "image": 1, "top": 2}[getattr(self.abstract_op, "sum_of", None)]

    def settings(self, node):
        """The constants of c_code/convolution.c."""
        op = self.abstract_op
        padding = {"half": (_HALF, _HALF), "full": (_FULL, _FULL)}.get(op.padding)
        padding = padding or tuple(before for before, _ in op.padding)
        numbers = (self.direction, *op.stride, *padding, *op.dilation, op.groups, op.flip)
        return (*numbers, self.has_bias, self.sum_of)


def _is_supported(op):
    """Whether cuDNN has the convolution of an abstract Op: it pads both sides of an axis alike."""
    return isinstance(op.padding, str) or all(before == after for before, after in op.padding)


def _as_forward(node):
    """A transposed convolution by one pixel, with a bias and ReLU, as the convolution that it is: cuDNN fuses those.

    It is one with any kernel, but needs more arithmetic where the kernel has more pixels.
    """
    op, (top, weights, *_) = node.op, node.inputs
    if not isinstance(op, abstract.ConvTransposed) or op.activation != "relu":
        return None
    bias, _ = op.options(node.inputs)
    plain = op.stride == op.dilation == (1, 1) and op.padding == ((0, 0), (0, 0)) and op.groups == 1
    shared = weights.owner.inputs[0] if weights.owner and isinstance(weights.owner.op, HostFromGpu) else weights
    if not bias or not plain or not isinstance(shared, SharedVariable):
        return None
    if tuple(shared.get_value(borrow=True, return_internal_type=True).shape[2:]) != (1, 1):
        return None
    geometry = {**op.geometry, "padding": "full", "flip": not op.flip}
    return Deferred(abstract.Conv("relu", **geometry))(top, weights.dimshuffle(1, 0, 2, 3), *bias, return_list=True)


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
    return op.with_activation(None), [*inputs[:2], *rest], bias, op.activation
