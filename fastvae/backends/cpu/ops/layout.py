"""Changes of layout: NCHW to NHWC and back."""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply

from fastvae.backends.cpu.op import CpuOp


class Layout(CpuOp):
    """The input with its axes in another order, contiguous: one threaded copy, or a view where that is enough."""

    __props__ = ("order",)
    view_map = {0: [0]}

    def __init__(self, order):
        self.order = tuple(order)

    def make_node(self, x):
        return Apply(self, [x], [tt.TensorType(x.dtype, [x.broadcastable[i] for i in self.order])()])

    def settings(self, node):
        return (len(self.order), *self.order, *(0,) * (4 - len(self.order)))

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.ascontiguousarray(inputs[0].transpose(self.order))

    def infer_shape(self, node, shapes):
        return [tuple(shapes[0][i] for i in self.order)]


to_nhwc, to_nchw = Layout((0, 2, 3, 1)), Layout((0, 3, 1, 2))


def nchw(a):
    """An NHWC array, or its shape, as NCHW."""
    return a.transpose(0, 3, 1, 2) if isinstance(a, np.ndarray) else (a[0], a[3], a[1], a[2])


def nhwc(a):
    """An NCHW array, or its shape, as contiguous NHWC."""
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)) if isinstance(a, np.ndarray) else (a[0], a[2], a[3], a[1])
