"""Copies to the GPU that are skipped while the value stays the same, as that of a shared factor or a size does."""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply, Op


class CopyWhenNew(Op):
    """A small array of the host on the GPU, copied when its value is not that of the call before.

    The result is kept for the next call, and so is its place: a recorded step finds a new value there. So that no Op
    overwrites it, it is declared to be a view of a constant.
    """

    __props__ = ()
    view_map = {0: [1]}

    def make_node(self, source, kind):
        return Apply(self, [source, tt.constant(np.int8(0))], [kind()])

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        import pygpu

        source, result = (storage_map[v] for v in (node.inputs[0], node.outputs[0]))
        computed, context = compute_map[node.outputs[0]], node.outputs[0].type.context
        sent = bits = None

        def copy_when_new():
            nonlocal sent, bits
            value = np.asarray(source[0], order="C")
            if sent is None or sent.shape != value.shape:
                sent = pygpu.array(value, context=context)
            elif bits != value.tobytes():
                sent.write(value)
            bits = value.tobytes()
            result[0], computed[0] = sent, True

        copy_when_new.lazy = False
        return copy_when_new
