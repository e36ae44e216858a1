"""Convolutions through oneDNN, Winograd's kernel or one for few channels, on NHWC."""

import theano
import theano.tensor as tt
from theano.gof import Apply, local_optimizer

from fastvae.backends import abstract
from fastvae.backends.abstract.activations import settings
from fastvae.backends.cpu.op import CpuOp, all_float32, lowers, replaced
from fastvae.backends.cpu.ops.layout import nchw, nhwc, to_nchw, to_nhwc
from fastvae.backends.cpu.ops.matmul import MatMul

_PADS = {"half": ((-1, -1),) * 2, "full": ((-2, -2),) * 2}  # as in c_code/convolution.c


@lowers(abstract.Conv, abstract.ConvTransposed, abstract.ConvWeightsGradient)
class Convolution(CpuOp):
    """An abstract convolution Op (`Conv`, `ConvTransposed` or `ConvWeightsGradient`) on images in NHWC.

    Inputs and outputs are those of the abstract Op, its images in NHWC; an image given as `like` too. With `winograd`,
    3x3 kernels of stride 1 over many channels go through c_code/winograd.c where the processor has AVX2.
    """

    part = "convolution"

    __props__ = ("abstract_op", "winograd")

    def __init__(self, abstract_op, winograd=False):
        self.abstract_op, self.winograd = abstract_op, winograd
        self.direction = abstract_op.direction

    @classmethod
    def lower(cls, node):
        if not all_float32(node.inputs[:2]) or not all_float32(node.outputs):
            return None
        if not all(v.ndim == 4 or v.dtype in ("float32", "int64") for v in node.inputs):
            return None
        op = cls(node.op)
        outputs = op(*op.on_images(node, node.inputs, to_nhwc), return_list=True)
        if op.direction < 2:
            outputs[0] = to_nchw(outputs[0])
        return outputs

    def __str__(self):
        return f"OneDNN{self.abstract_op}"

    def make_node(self, *inputs):
        inputs = list(map(tt.as_tensor_variable, inputs))
        a = inputs[0]
        image = tt.TensorType("float32", [a.broadcastable[0], False, False, False])
        if self.direction < 2:
            return Apply(self, inputs, [image()])
        sums = [tt.TensorType("float32", [False])()] if self.abstract_op.sum_of else []
        return Apply(self, inputs, [tt.TensorType("float32", [False] * 4)(), *sums])

    def settings(self, node):
        m, backward = self.abstract_op, self.direction == 2
        bias, like = abstract.ConvTransposed.options(node.inputs)
        sum_of = {None: 0, "top": 1, "image": 2}[m.sum_of] if backward else 0
        pads = [p for pair in _PADS.get(m.padding, m.padding) for p in pair]
        return (self.direction, *m.stride, *m.dilation, m.groups, *pads, m.flip, bool(bias) and not backward,
                bool(like), sum_of, self.winograd, *settings(None if backward else m.activation))  # fmt: skip

    def on_images(self, node, inputs, transpose):
        """The node's inputs (or their values, or shapes), of every image `transpose(image)`."""
        images = {0} | ({1} if self.direction == 2 else set())
        if self.direction == 1:
            images |= {i for i, v in enumerate(node.inputs) if i > 1 and v.ndim == 4}
        return [transpose(a) if i in images else a for i, a in enumerate(inputs)]

    def perform(self, node, inputs, outputs):
        self.abstract_op.perform(node, self.on_images(node, inputs, nchw), outputs)
        if self.direction < 2:
            outputs[0][0] = nhwc(outputs[0][0])

    def infer_shape(self, node, shapes):
        first, *rest = self.abstract_op.infer_shape(node, self.on_images(node, shapes, nchw))
        return [nhwc(first) if self.direction < 2 else first, *rest]

    def connection_pattern(self, node):
        if hasattr(self.abstract_op, "connection_pattern"):
            return self.abstract_op.connection_pattern(node)
        return [[True] for _ in node.inputs]


@local_optimizer([Convolution])
def local_winograd(node):
    """Let a convolution of stride 1 take Winograd's kernel, if its sizes suit that when it runs.

    Not on the way to a maximum over pixels, such as a max-pooling: there equal values share a gradient, and Winograd's
    outputs of equal pixels (a plain background) differ by rounding.
    """
    op = node.op
    if not isinstance(op, Convolution) or op.winograd:
        return False
    if (op.abstract_op.stride, op.abstract_op.dilation, op.abstract_op.groups) != ((1, 1), (1, 1), 1):
        return False
    if op.direction < 2 and _is_compared(node.outputs[0]):
        return False
    return replaced(node, Convolution(op.abstract_op, winograd=True)(*node.inputs, return_list=True))


def _is_compared(variable):
    """Whether a maximum looks at the variable, or at what becomes of it before the next product."""
    seen, variables = set(), [variable]
    while variables:
        for client, i in variables.pop().clients:
            if client == "output" or isinstance(client.op, (Convolution, MatMul, tt.Dot)):
                continue
            if i in getattr(client.op, "compared_inputs", ()) or _is_maximum(client.op):
                return True
            if client not in seen:
                seen.add(client)
                variables.extend(client.outputs)
    return False


def _is_maximum(op):
    reduces = isinstance(op, tt.elemwise.CAReduce) and isinstance(op.scalar_op, theano.scalar.Maximum)
    return reduces or isinstance(op, tt.MaxAndArgmax)
