"""The Theano Ops of NVIDIA GPUs: a convolution or one of its gradients (NCHW) through cuDNN, and Adam; float32.

They run in the module that `library` compiles once, so that Theano generates and compiles no C for them.
"""

from theano.gof import Apply, Op

from fastvae.backends import abstract, c_module
from fastvae.backends.abstract.adam import CompiledAdam
from fastvae.backends.gpu import library

_HALF, _FULL = -1, -2  # as in c_code/convolution.c
DIRECTIONS = (abstract.Conv, abstract.ConvTransposed, abstract.ConvWeightsGradient)


class GpuOp(Op):
    """An Op of the compiled module: `kind` names it there, `settings(node)` are its constants."""

    kind = None

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        return c_module.thunk(library.loaded(), self.kind, self.settings(node), node, storage_map, compute_map)


class Waiting(Op):
    """An abstract Op until Theano has moved the graph to the GPU."""

    __props__ = ("meaning",)

    def __init__(self, meaning):
        self.meaning = meaning

    def make_node(self, *inputs):
        node = self.meaning.make_node(*inputs)
        return Apply(self, node.inputs, [v.type() for v in node.outputs])

    def perform(self, node, inputs, outputs):
        self.meaning.perform(node, inputs, outputs)

    def infer_shape(self, node, shapes):
        return self.meaning.infer_shape(node, shapes)


class Convolution(GpuOp):
    """An abstract convolution Op (`Conv`, `ConvTransposed` or `ConvWeightsGradient`) on the GPU.

    Inputs are those of the abstract Op; its operands, two tensors and a bias, are on the GPU, `like` anywhere. A bias
    comes with ReLU, and both only with `Conv`: cuDNN fuses no other.
    """

    __props__ = ("meaning",)
    kind = "Convolution"

    def __init__(self, meaning):
        self.meaning = meaning
        self.direction = DIRECTIONS.index(type(meaning))

    def __str__(self):
        return f"CuDNN{self.meaning}"

    def make_node(self, *inputs):
        from theano.gpuarray.basic_ops import as_gpuarray_variable, infer_context_name
        from theano.gpuarray.type import GpuArrayType

        context = infer_context_name(*inputs)
        n = 3 if self.has_bias else 2
        like = [v.transfer("cpu") if v.ndim == 1 else v for v in inputs[n:]]
        inputs = [*(as_gpuarray_variable(v, context) for v in inputs[:n]), *like]
        outputs = [[inputs[0].broadcastable[0], False, False, False] if self.direction < 2 else [False] * 4]
        outputs += [[False]] * bool(self.sum_of)
        return Apply(self, inputs, [GpuArrayType("float32", pattern, context_name=context)() for pattern in outputs])

    def infer_shape(self, node, shapes):
        return self.meaning.infer_shape(node, shapes)

    @property
    def has_bias(self):
        return getattr(self.meaning, "activation", None) == "relu"

    @property
    def sum_of(self):
        return {None: 0, "image": 1, "top": 2}[getattr(self.meaning, "sum_of", None)]

    def settings(self, node):
        """The constants of c_code/convolution.c."""
        meaning = self.meaning
        padding = {"half": (_HALF, _HALF), "full": (_FULL, _FULL)}.get(meaning.padding)
        padding = padding or tuple(before for before, _ in meaning.padding)
        numbers = (self.direction, *meaning.stride, *padding, *meaning.dilation, meaning.groups, meaning.flip)
        return (*numbers, self.has_bias, self.sum_of)


class Adam(CompiledAdam, GpuOp):
    """An `abstract.AdamStep` on the GPU, one launch for up to 12 parameters."""

    def make_node(self, *inputs):
        from theano.gpuarray.basic_ops import as_gpuarray_variable, infer_context_name

        context = infer_context_name(*inputs)
        inputs = [as_gpuarray_variable(v, context) for v in inputs]
        return Apply(self, inputs, [inputs[source].type() for source in self.sources()])


def is_supported(op):
    """Whether cuDNN has the convolution of an abstract Op: it pads both sides of an axis alike."""
    return isinstance(op.padding, str) or all(before == after for before, after in op.padding)
