"""The Theano Ops of NVIDIA GPUs: a convolution or one of its gradients (NCHW) through cuDNN, and Adam; float32.

They run in the module that `library` compiles once, so that Theano generates and compiles no C for them.
"""
from theano.gof import Apply, Op

from fastvae.backends import abstract, c_module
from fastvae.backends.gpu import library

_HALF, _FULL = -1, -2  # as in c_code/convolution.c
DIRECTIONS = (abstract.Conv, abstract.ConvTransposed, abstract.ConvWeightsGradient)


class GpuOp(Op):
    """An Op that the module runs; a subclass says which `kind`, its `settings()` (integers) and `constants`."""

    constants = ()

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        module = library.loaded()
        cells = c_module.cells(node, storage_map)
        capsule = module.make_thunk(self.kind, self.settings(), self.constants, *cells)
        return c_module.Thunk(module, capsule, node, compute_map)


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
    kind = "convolution"

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

    def settings(self):
        """The constants of c_code/convolution.c."""
        meaning = self.meaning
        padding = {"half": (_HALF, _HALF), "full": (_FULL, _FULL)}.get(meaning.padding)
        padding = padding or tuple(before for before, _ in meaning.padding)
        numbers = (self.direction, *meaning.stride, *padding, *meaning.dilation, meaning.groups, meaning.flip)
        return (*map(int, numbers), int(self.has_bias), self.sum_of)


class Adam(GpuOp):
    """An `abstract.AdamStep` on the GPU, one launch for up to 32 parameters; in place where asked."""

    __props__ = ("meaning", "n_parameters", "inplace")
    kind = "Adam"

    def __init__(self, meaning, n_parameters, inplace=False):
        self.meaning, self.n_parameters, self.inplace = meaning, n_parameters, inplace
        self.constants = (meaning.beta1, meaning.beta2, meaning.epsilon)
        if inplace:
            self.destroy_map = {i: [source] for i, source in enumerate(self._sources())}

    def _sources(self):
        """Which input becomes which output."""
        return self.meaning.updated(range(1, 4 * self.n_parameters + 1))

    def make_node(self, *inputs):
        from theano.gpuarray.basic_ops import as_gpuarray_variable, infer_context_name

        context = infer_context_name(*inputs)
        inputs = [as_gpuarray_variable(v, context) for v in inputs]
        return Apply(self, inputs, [inputs[source].type() for source in self._sources()])

    def infer_shape(self, node, shapes):
        return self.meaning.infer_shape(node, shapes)

    def settings(self):
        return (int(self.inplace),)


def is_supported(op):
    """Whether cuDNN has the convolution of an abstract Op: it pads both sides of an axis alike."""
    return isinstance(op.padding, str) or all(before == after for before, after in op.padding)
