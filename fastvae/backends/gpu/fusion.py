"""Regions: what lies between two library calls of a step becomes one Op, which needs a launch or two; on CUDA alone.

Library calls (convolutions, products, random numbers and whatever else a region does not compute) are put into levels:
a level is what can run once the regions of lower levels have. All nodes of one level that a region computes are one.
A call that costs less inside a region (`small_calls`) becomes part of one first.
"""

from __future__ import annotations

from theano import scalar
from theano.compile import optdb
from theano.compile.sharedvalue import SharedVariable
from theano.gof import InconsistencyError, Optimizer, local_optimizer, toolbox
from theano.gof.opt import copy_stack_trace, in2out
from theano.gpuarray.basic_ops import GpuAlloc
from theano.gpuarray.elemwise import GpuCAReduceCuda
from theano.gpuarray.type import GpuArrayConstant

from fastvae.backends.abstract import ConvWeightsGradient
from fastvae.backends.gpu.fused.nodes import is_fused, is_reduction, is_view, reads_around, source
from fastvae.backends.gpu.fused.region import Region
from fastvae.backends.gpu.op import typed
from fastvae.backends.gpu.ops.adam import Adam
from fastvae.backends.gpu.ops.adam_of_product import local_adam_of_product
from fastvae.backends.gpu.ops.convolution import Convolution
from fastvae.backends.gpu.small_calls import small_calls

LARGE = 1 << 22  # elements of a parameter whose gradient fills a good part of a card's cache
MOST = 100  # arrays of a region: a kernel takes no more than 4,096 bytes of arguments


@local_optimizer([Convolution])
def local_sum_where_computed(node):
    """a bias's gradient from cuDNN -> the sum of what a region computes, which needs no further pass over it there"""
    op = node.op
    if not isinstance(op, Convolution) or not op.sum_of:
        return False
    operand = node.inputs[op.sum_of - 1]
    if not is_fused(source(operand).owner):
        return False
    gradient = Convolution(ConvWeightsGradient(**op.abstract_op.geometry))(*node.inputs)
    sums = GpuCAReduceCuda(scalar.add, (0, 2, 3), dtype="float32", acc_dtype="float32")(operand)
    new = typed([gradient, sums], node.outputs)
    copy_stack_trace(node.outputs, new)
    return new


@local_optimizer([GpuCAReduceCuda])
def local_sum_image_by_image(node):
    """the sum over a batch and other axes -> that of each image, then that over the batch, which is small"""
    op = node.op
    if not is_fused(node) or not isinstance(op, GpuCAReduceCuda) or not isinstance(op.scalar_op, scalar.Add):
        return False
    if node.inputs[0].ndim < 2 or not op.reduce_mask[0] or not op.reduce_mask[-1]:
        return False
    types = dict(dtype=op.dtype, acc_dtype=op.acc_dtype)
    mask = (0, *op.reduce_mask[1:])
    axes = [axis for axis, reduced in enumerate(mask) if reduced]
    each = GpuCAReduceCuda(op.scalar_op, axes, mask, pre_scalar_op=op.pre_scalar_op, **types)(*node.inputs)
    total = GpuCAReduceCuda(op.scalar_op, (0,), (1,) + (0,) * (each.ndim - 1), **types)(each)
    copy_stack_trace(node.outputs[0], total)
    return [total]


class MergeAdam(Optimizer):
    """Adam's steps of one rate -> one Op, whose parameters share launches.

    But a large parameter's runs by itself, while its gradient is still in the card's cache.
    """

    def add_requirements(self, fgraph):
        fgraph.attach_feature(toolbox.ReplaceValidate())

    def apply(self, fgraph):
        groups: dict = {}
        for node in fgraph.toposort():
            if isinstance(node.op, Adam) and not node.op.inplace and not any(map(_is_large, node.inputs)):
                groups.setdefault((node.op.abstract_op, node.inputs[0]), []).append(node)
        for (abstract_op, rate), nodes in groups.items():
            if len(nodes) == 1:
                continue
            outputs = [v for node in nodes for v in node.outputs]
            merged = Adam(abstract_op, len(outputs) // 3)
            new = merged(rate, *(v for node in nodes for v in node.inputs[1:]), return_list=True)
            replace(fgraph, outputs, new, "fastvae_gpu_merge")


def _is_large(variable):
    is_parameter = isinstance(variable, SharedVariable)
    return is_parameter and variable.get_value(borrow=True, return_internal_type=True).size > LARGE


def replace(fgraph, outputs, new, reason):
    """Put new variables in the place of others, and return whether the graph can still be computed; else undo it."""
    for old, variable in zip(outputs, new):  # one by one: each would get the traces of all
        copy_stack_trace(old, variable)
    try:
        fgraph.replace_all_validate(list(zip(outputs, new)), reason=reason)
    except InconsistencyError:
        return False
    return True


class FuseRegions(Optimizer):
    """Nodes between library calls -> a `Region` a level."""

    def add_requirements(self, fgraph):
        fgraph.attach_feature(toolbox.ReplaceValidate())

    def apply(self, fgraph):
        small_calls.optimize(fgraph)
        regions: dict[int, list] = {}
        for node, level in levels(fgraph).items():
            regions.setdefault(level, []).append(node)
        for _, nodes in sorted(regions.items()):
            if any(not isinstance(node.op, GpuAlloc) for node in nodes):
                fuse(fgraph, nodes)


def levels(fgraph):
    """The level of every node that a region computes, in topological order.

    As early as possible; but single numbers, and what follows a reduction of its own level, as the second stage of a
    sum does, go as late as possible, for they would need launches of their own. A reduction among them goes ahead of
    what needs its result, if it can.
    """
    order = fgraph.toposort()
    earliest: dict = {}
    for node in order:
        is_ours = is_fused(node) or is_view(node)
        earliest[node] = max(
            (
                earliest[v.owner] + ((not is_ours or reads_around(node, v)) and is_fused(source(v).owner))
                for v in node.inputs
                if v.owner is not None
            ),
            default=0,
        )
    last = max((earliest[node] for node in order if is_fused(node)), default=0)
    depth: dict = {}
    for node in filter(is_fused, order):
        depth[node] = max(
            (
                depth[owner] + is_reduction(owner)
                for owner in (source(v).owner for v in node.inputs)
                if owner in depth and earliest[owner] == earliest[node]
            ),
            default=0,
        )
    found: dict = {}
    for node in reversed(order):
        if node in depth:
            is_late = depth[node] or all(node.outputs[0].broadcastable)
            goes_ahead = is_reduction(node) and not depth[node]
            latest = _latest(fgraph, node, earliest, found, last, goes_ahead) if is_late else earliest[node]
            found[node] = max(earliest[node], latest)
    return {node: found[node] for node in order if node in found}


def _latest(fgraph, node, earliest, found, last, goes_ahead):
    """The highest level of a node, those of the nodes behind it being known."""
    level = last
    waiting = list(node.outputs)
    while waiting:
        variable = waiting.pop()
        for client, _ in fgraph.clients(variable):
            if client == "output":
                continue
            if is_view(client):
                waiting += client.outputs
            elif client in found:
                level = min(level, found[client] - (goes_ahead or reads_around(client, variable)))
            else:
                level = min(level, earliest[client] - 1)
    return level


def fuse(fgraph, nodes):
    """Put a region in the place of some nodes, which are in topological order."""
    inside = {v for node in nodes for v in node.outputs}
    inputs: dict = {}
    for node in nodes:
        waiting = list(node.inputs)
        while waiting:
            v = waiting.pop()
            if v in inside or (isinstance(v, GpuArrayConstant) and v.data.size == 1):
                continue
            if is_view(v.owner):
                waiting += v.owner.inputs
            else:
                inputs[v] = None
    outputs = [v for node in nodes for v in node.outputs if _is_wanted(fgraph, v, inside)]
    if not outputs:
        return
    if len(inputs) + len(outputs) > MOST and len(nodes) > 1:
        half = len(nodes) // 2
        fuse(fgraph, nodes[:half])
        fuse(fgraph, nodes[half:])
        return
    region = Region(list(inputs), outputs)
    new = region(*inputs, return_list=True)
    replace(fgraph, outputs, new, "fastvae_gpu_fuse")


def _is_wanted(fgraph, variable, inside):
    """Whether anything outside a region needs a variable of it."""
    for client, _ in fgraph.clients(variable):
        if client == "output":
            return True
        if is_view(client):
            if _is_wanted(fgraph, client.outputs[0], inside):
                return True
        elif not any(v in inside for v in client.outputs):
            return True
    return False


class OverwriteStates(Optimizer):
    """A `Region` -> its variant whose outputs overwrite the shared variables that they are the next values of."""

    def add_requirements(self, fgraph):
        fgraph.attach_feature(toolbox.ReplaceValidate())

    def apply(self, fgraph):
        for node in fgraph.toposort():
            if not isinstance(node.op, Region) or node.op.inplace:
                continue
            wanted = node.op.overwrites(lambda i, j, node=node: _is_next(fgraph, node.outputs[i], node.inputs[j]))
            overwrites: dict[int, int] = {}
            for output, overwritten in wanted.items():  # one by one: a view of it may be needed elsewhere
                new = node.op.in_place({**overwrites, output: overwritten})(*node.inputs, return_list=True)
                if replace(fgraph, node.outputs, new, "fastvae_gpu_overwrite"):
                    overwrites[output] = overwritten
                    node = new[0].owner


def _is_next(fgraph, output, source):
    """Whether an output is the next value of an input of the whole graph."""
    updates = fgraph.update_mapping or {}
    return any(fgraph.outputs[i] is output and fgraph.inputs[j] is source for i, j in updates.items())


def register():
    """Put the rewrites into Theano's optdb, once a process."""
    if "fastvae_gpu_fuse" in optdb.__db__:
        return
    sums = in2out(local_sum_where_computed, local_sum_image_by_image, name="fastvae_gpu_sum")
    optdb.register("fastvae_gpu_sum", sums, 48.55, "fast_run", "fastvae_gpu")
    products = in2out(local_adam_of_product, name="fastvae_gpu_product")
    optdb.register("fastvae_gpu_product", products, 48.74, "fast_run", "fastvae_gpu")
    optdb.register("fastvae_gpu_merge", MergeAdam(), 48.75, "fast_run", "fastvae_gpu")
    optdb.register("fastvae_gpu_fuse", FuseRegions(), 48.9, "fast_run", "fastvae_gpu")
    optdb.register("fastvae_gpu_overwrite", OverwriteStates(), 70.2, "fast_run", "fastvae_gpu", "inplace")
