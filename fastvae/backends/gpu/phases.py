"""Which parts of a compiled step the host computes before the GPU's and after it, and which can be recorded in between.

    before     what the host computes of values that may change from step to step, and their copies to the GPU
    recorded   everything on the GPU, and what the host computes of shapes alone
    after      copies to the host, and what the host computes of these

A recorded step repeats the launches of `recorded` without running its Ops; the others run in every step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from theano.compile.ops import Shape, Shape_i
from theano.gof.graph import inputs
from theano.gpuarray.basic_ops import GpuFromHost
from theano.gpuarray.type import GpuArrayType

from fastvae.backends.gpu.copies import CopyWhenNew


class NotRecordable(Exception):
    """Why a step cannot be recorded, in words that follow a colon."""


class Phases(NamedTuple):
    """The parts of a step.

    Attributes
    ----------
    before, recorded, after : list of int
        Places in the order in which Theano computes the function's nodes.
    crossing : list of theano variable
        What `recorded` reads of the host's values and of `before`: if it changes, what was recorded no longer holds.
    """

    before: list[int]
    recorded: list[int]
    after: list[int]
    crossing: list[Any]


def on_gpu(variable: Any) -> bool:
    """Whether a variable of a graph is in the memory of a GPU."""
    return isinstance(variable.type, GpuArrayType)


def divided(function: Any) -> Phases:
    """The parts of a compiled function.

    Parameters
    ----------
    function : theano.compile.Function

    Raises
    ------
    NotRecordable
        If it is not to be divided like this.
    """
    graph, nodes = function.maker.fgraph, function.fn.nodes
    contexts = {v.type.context_name for node in nodes for v in (*node.inputs, *node.outputs) if on_gpu(v)}
    if len(contexts) != 1:
        raise NotRecordable("it runs on several GPUs" if contexts else "nothing of it runs on the GPU")
    changing = {v for v in graph.inputs if not on_gpu(v)}
    before, after, late = set(), set(), set()
    for node in nodes:
        outputs = {v for v in node.outputs if not on_gpu(v)}
        if _reads_results(node) or not late.isdisjoint(node.inputs):
            if len(outputs) < len(node.outputs):
                raise NotRecordable(f"{node.op} needs what the host computes in the same step of {_names(node, late)}")
            after.add(node)
            late |= outputs
        elif _is_copy_to_gpu(node, changing) or (
            not changing.isdisjoint(node.inputs) and len(outputs) == len(node.outputs)
        ):
            before.add(node)
            changing |= outputs
    _add_ancestors(before, after)
    for node, earlier in graph.orderings().items():
        if node in before and not before.issuperset(earlier):
            raise NotRecordable(f"{node.op} overwrites what the GPU's part of the step needs")
    recorded = [node for node in nodes if node not in before and node not in after]
    computed = changing.union(*(node.outputs for node in before))
    crossing = [v for v in dict.fromkeys(v for node in recorded for v in node.inputs) if v in computed]
    places = {node: place for place, node in enumerate(nodes)}
    return Phases(*(sorted(places[node] for node in part) for part in (before, recorded, after)), crossing)


def _names(node, late):
    """The shared variables behind what a node needs of the host."""
    behind = inputs([v for v in node.inputs if v in late])
    return ", ".join(dict.fromkeys(v.name for v in behind if v.name)) or "its results"


def _reads_results(node):
    """Whether a node copies values, and not only a shape, from the GPU to the host."""
    if isinstance(node.op, (Shape, Shape_i)) or not any(map(on_gpu, node.inputs)):
        return False
    return not all(map(on_gpu, node.outputs))


def _is_copy_to_gpu(node, changing):
    """Whether a node copies to the GPU in every step: `CopyWhenNew` has nothing to do while its value is the same."""
    if isinstance(node.op, CopyWhenNew):
        return node.inputs[0] in changing
    return isinstance(node.op, GpuFromHost)


def _add_ancestors(before, after):
    """Add to `before` what the host computes for it and for `after` of shapes: its results may be overwritten there."""
    waiting = [*before, *after]
    while waiting:
        for variable in waiting.pop().inputs:
            node = variable.owner
            if node is not None and not any(map(on_gpu, node.outputs)) and node not in before and node not in after:
                before.add(node)
                waiting.append(node)
