"""What all Ops of the GPU share, and how an abstract Op waits until Theano has moved the graph there.

    GpuOp       an Op of the compiled module
    OnDevice    one that stands for one abstract Op, with all that it takes and gives on the device
    lowers      decorator of a `GpuOp`: stands for abstract Ops of these classes
    Deferred    an abstract Op on its way to the GPU

Before Theano moves a graph to the GPU (48.5), an abstract Op is replaced by a `Deferred` one, else it would become its
stock expression (1.65). Theano's passes then lift the deferred Op with its neighbours, and it becomes its `GpuOp`.
"""

from __future__ import annotations

from typing import Any

import theano.tensor as tt
from theano.gof import Apply, Op
from theano.gof.opt import copy_stack_trace
from theano.gpuarray.basic_ops import as_gpuarray_variable, infer_context_name
from theano.gpuarray.type import GpuArrayType

from fastvae.backends.compiled_op import CompiledOp, Lowerings, all_float32
from fastvae.backends.gpu import library

lowers = Lowerings()


class GpuOp(CompiledOp):
    """An Op of the compiled module, for an abstract Op; float32.

    A subclass says by `lowers` for which ones, and how they get there.
    """

    engine = "gpu"  # or "cudnn", without which the Op is not available

    def module(self):
        return library.loaded()

    @classmethod
    def defer(cls, node: Any) -> list | None:
        """What takes a node's place until Theano moves the graph, None for what the GPU does not compute."""
        return Deferred(node.op)(*node.inputs, return_list=True)

    @classmethod
    def on_gpu(cls, deferred: Deferred, context_name: str | None, inputs: list, outputs: list) -> list:
        """A deferred Op's outputs on the device of a context; the form that Theano's lifters have."""
        raise NotImplementedError

    @classmethod
    def on_host(cls, node: Any) -> list:
        """What becomes of a deferred node that nothing on the GPU touches: by default the abstract Op's stock one."""
        stock = node.op.abstract_op.stock(*node.inputs)
        return stock if isinstance(stock, list) else [stock]


class OnDevice(GpuOp):
    """An abstract Op whose inputs and outputs, all float32, are on the device."""

    __props__ = ("abstract_op",)

    def __init__(self, abstract_op):
        self.abstract_op = abstract_op

    @classmethod
    def defer(cls, node):
        return super().defer(node) if all_float32([*node.inputs, *node.outputs]) else None

    @classmethod
    def on_gpu(cls, deferred, context_name, inputs, outputs):
        op = cls(deferred.abstract_op)
        return op(*(as_gpuarray_variable(v, context_name) for v in inputs), return_list=True)

    @classmethod
    def on_host(cls, node):
        """Still on the device, between transfers."""
        return [v.transfer("cpu") for v in cls.on_gpu(node.op, None, node.inputs, node.outputs)]

    def make_node(self, *inputs):
        context = infer_context_name(*inputs)
        inputs = [as_gpuarray_variable(v, context) for v in inputs]
        node = self.abstract_op.make_node(*(tt.TensorType(v.dtype, v.broadcastable)() for v in inputs))
        outputs = [GpuArrayType(v.dtype, v.broadcastable, context_name=context)() for v in node.outputs]
        return Apply(self, inputs, outputs)

    def settings(self, node):
        return self.abstract_op.settings(node)

    def do_constant_folding(self, node):
        return self.abstract_op.do_constant_folding(node)

    def infer_shape(self, node, shapes):
        return self.abstract_op.infer_shape(node, shapes)


class Deferred(Op):
    """An abstract Op until Theano has moved the graph to the GPU."""

    __props__ = ("abstract_op",)

    def __init__(self, abstract_op):
        self.abstract_op = abstract_op

    def make_node(self, *inputs):
        node = self.abstract_op.make_node(*inputs)
        return Apply(self, node.inputs, [v.type() for v in node.outputs])

    def perform(self, node, inputs, outputs):
        self.abstract_op.perform(node, inputs, outputs)

    def infer_shape(self, node, shapes):
        return self.abstract_op.infer_shape(node, shapes)


def replaced(node: Any, new: list) -> list:
    """The new outputs with the old ones' broadcastable axes."""
    new = typed(new, node.outputs)
    copy_stack_trace(node.outputs, new)
    return new


def typed(new: list, outputs: list) -> list:
    """The new outputs, each with the broadcastable axes of an old one."""
    return [
        v if v.broadcastable == old.broadcastable else tt.patternbroadcast(v, old.broadcastable)
        for v, old in zip(new, outputs)
    ]
