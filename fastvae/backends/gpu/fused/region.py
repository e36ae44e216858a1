"""A part of a graph on the GPU, as one Op: its kernels are written and compiled when it first meets their shapes."""

from __future__ import annotations

import copy

import numpy as np
from theano.gof import Apply, Op
from theano.gpuarray.elemwise import GpuElemwise
from theano.gpuarray.type import GpuArrayType

from fastvae.backends.gpu.fused.nodes import Values, is_reduction, is_view
from fastvae.backends.gpu.fused.places import packed
from fastvae.backends.gpu.fused.plan import Plan
from fastvae.backends.gpu.fused.sources import Source

KEPT = 16  # combinations of shapes whose kernels a region keeps


def between(inputs, outputs):
    """The nodes that compute outputs from inputs, in topological order.

    Theano's `io_toposort` goes on beyond an input that is not the first output of its node, and may never end there.
    """
    known, order, waiting = set(inputs), [], [v.owner for v in reversed(outputs)]
    while waiting:
        node = waiting[-1]
        missing = [v.owner for v in node.inputs if v.owner is not None and v not in known]
        if missing and node.outputs[0] not in known:
            waiting += missing
            continue
        waiting.pop()
        if node.outputs[0] not in known:
            known.update(node.outputs)
            order.append(node)
    return order


class Region(Op):
    """Some nodes of a graph, computed in as few launches as their data allow; inputs and outputs are theirs.

    Parameters
    ----------
    inputs, outputs : list of variables
        Of a graph, which is copied.
    """

    inplace = False

    def __init__(self, inputs, outputs):
        same = {v: v.clone() for v in inputs}
        self.nodes = []
        for node in between(inputs, outputs):
            self.nodes.append(node.clone_with_new_inputs([same.get(v, v) for v in node.inputs]))
            same.update(zip(node.outputs, self.nodes[-1].outputs))
        self.inputs, self.outputs = [same[v] for v in inputs], [same[v] for v in outputs]

    def __str__(self):
        names = [str(getattr(node.op, "scalar_op", type(node.op).__name__)) for node in self.nodes if not is_view(node)]
        return f"Region{{{len(names)} nodes: {', '.join(sorted(set(names)))}}}"

    def make_node(self, *inputs):
        return Apply(self, list(inputs), [v.type() for v in self.outputs])

    def overwrites(self, is_updated):
        """Which outputs may take the place of which inputs: element by element made of an input, which is asked for.

        No two of them read what the other overwrites.
        """
        found: dict[int, int] = {}
        for i, output in enumerate(self.outputs):
            for j, source in enumerate(self.inputs):
                if j in found.values() or not is_updated(i, j) or not _is_made_of(output, source):
                    continue
                reads = [self.inputs[k] for k in found.values()]
                others = [self.outputs[k] for k in found]
                if any(_reads(output, v) for v in reads) and any(_reads(o, source) for o in others):
                    continue
                found[i] = j
                break
        return found

    def in_place(self, overwrites):
        """The variant whose outputs overwrite inputs."""
        variant = copy.copy(self)
        variant.inplace = True
        variant.destroy_map = {output: [source] for output, source in overwrites.items()}
        return variant

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        inputs = [storage_map[v] for v in node.inputs]
        outputs = [storage_map[v] for v in node.outputs]
        computed = [compute_map[v] for v in node.outputs]
        context = node.outputs[0].type.context
        on_device = [cell for cell, v in zip(inputs, node.inputs) if isinstance(v.type, GpuArrayType)]
        on_host = [cell for cell, v in zip(inputs, node.inputs) if not isinstance(v.type, GpuArrayType)]
        programs: dict = {}
        program, numbers = None, None

        def call():
            nonlocal program, numbers
            now = [np.asarray(cell[0]).tobytes() for cell in on_host]
            # Mostly the arrays are those of the call before: their shapes need not be looked at.
            if program is None or now != numbers or not program.holds(on_device, outputs):
                numbers = now
                key = (*now, *((cell[0].shape, cell[0].strides) for cell in on_device))
                program = programs.get(key)
                if program is None:
                    if len(programs) == KEPT:
                        del programs[next(iter(programs))]
                    program = programs[key] = Program(self, [cell[0] for cell in inputs], context)
                program.take(on_device, outputs)
            program.run()
            for cell in computed:
                cell[0] = True

        call.lazy = False
        return call


def _is_made_of(output, source):
    """Whether an output's elements are each computed from the source's in their place, and from no other of it.

    Reductions do not count: they have ended before.
    """
    if output.type != source.type or output is source:
        return False
    is_direct, found, waiting = False, set(), [output]
    while waiting:
        v = waiting.pop()
        is_direct |= v is source
        if v in found or v.owner is None or is_reduction(v.owner):
            continue
        found.add(v)
        for argument in v.owner.inputs:
            if isinstance(v.owner.op, GpuElemwise) and argument.broadcastable == output.broadcastable:
                waiting.append(argument)
            elif _reads(argument, source, through_reductions=False):
                return False
    return is_direct


def _reads(variable, source, through_reductions=True):
    """Whether a value depends on a source."""
    found, waiting = set(), [variable]
    while waiting:
        v = waiting.pop()
        if v is source:
            return True
        if v not in found and v.owner and (through_reductions or not is_reduction(v.owner)):
            found.add(v)
            waiting += v.owner.inputs
    return False


class Program:
    """A region's kernels for some shapes and strides.

    Parameters
    ----------
    region : Region
    inputs : list of arrays
    context : pygpu context
    """

    def __init__(self, region, inputs, context):
        shapes, host, loaded, self._places, given = {}, {}, {}, {}, {}
        for i, (v, array) in enumerate(zip(region.inputs, inputs)):
            if isinstance(v.type, GpuArrayType):
                shapes[v] = tuple(map(int, array.shape))
                loaded[v] = f"a{i}", _in_elements(array)
                given[i] = len(given)
                self._places[f"a{i}"] = 0, given[i]
            else:
                host[v] = array
        destroyed = getattr(region, "destroy_map", {})
        overwritten = {region.outputs[i]: region.inputs[j] for i, (j,) in destroyed.items()}
        plan = Plan(region.nodes, region.outputs, overwritten, _with_constants(shapes, region.nodes), host)
        self._overwritten = {i: given[j] for i, (j,) in destroyed.items()}
        self._outputs = [(plan.shapes[v], v.dtype) for v in region.outputs]
        self._context, self._scratch = context, []
        self._given, self._made, self._calls = [], [], []
        arrays = self._named(region, plan, loaded, overwritten)
        values = Values(plan.shapes, host, loaded)
        self._kernels = [self._compiled(launch, values, arrays) for launch in plan.launches]

    def _named(self, region, plan, loaded, overwritten):
        """Names of the arrays of all results in memory: inputs that are overwritten, outputs, or arrays of its own."""
        arrays, n = {}, len(region.inputs)
        for i, v in enumerate(region.outputs):
            arrays[v] = loaded[overwritten[v]][0] if v in overwritten else f"a{n + i}"
            self._places.setdefault(arrays[v], (1, i))
        for v in (v for loop in plan.loops for v in loop.reduced):
            if v not in arrays:
                arrays[v] = f"a{n + len(region.outputs) + len(self._scratch)}"
                self._places[arrays[v]] = 2, len(self._scratch)
                self._scratch.append(self._empty(plan.shapes[v], v.dtype))
        return arrays

    def _compiled(self, launch, values, arrays):
        from pygpu.gpuarray import SIZE, GpuArray, GpuKernel

        source = Source("fastvae_region", launch, values, arrays)
        types = [GpuArray, SIZE] * len(source.arguments)
        kernel = GpuKernel(
            source.text, "fastvae_region", types, context=self._context, have_double=True, have_small=True
        )
        return kernel, source.blocks, source.threads, [self._places[array] for array in source.arguments]

    def holds(self, inputs, outputs):
        """Whether these cells hold the arrays that were taken last."""
        same = all(cell[0] is array for cell, array in zip(inputs, self._given))
        return same and all(cell[0] is array for cell, array in zip(outputs, self._made))

    def take(self, inputs, outputs):
        """Take the arrays in the cells of inputs on the device, and put arrays for the outputs into their cells."""
        given, made = [cell[0] for cell in inputs], []
        for i, ((shape, dtype), cell) in enumerate(zip(self._outputs, outputs)):
            is_overwritten = i in self._overwritten
            cell[0] = given[self._overwritten[i]] if is_overwritten else self._output(cell[0], shape, dtype, given)
            made.append(cell[0])
        sources = given, made, self._scratch
        self._given, self._made, self._calls = given, made, []
        for kernel, blocks, threads, places in self._kernels:
            arrays = [sources[where][i] for where, i in places]
            arguments = [argument for array in arrays for argument in (array, array.offset)]
            self._calls.append((kernel, blocks, threads, arguments))

    def run(self):
        """Compute the outputs of the arrays that were taken."""
        for kernel, blocks, threads, arguments in self._calls:
            kernel(*arguments, gs=blocks, ls=threads)

    def _output(self, old, shape, dtype, given):
        """The output's old array if it fits and is no input, else a new one."""
        is_ours = old is not None and not any(old is array for array in given)
        if is_ours and old.shape == shape and old.dtype == dtype and old.flags["C_CONTIGUOUS"]:
            return old
        return self._empty(shape, dtype)

    def _empty(self, shape, dtype):
        import pygpu

        return pygpu.empty(shape, dtype=dtype, context=self._context)


def _in_elements(array):
    """An array's strides in elements, those of axes of one as 0."""
    size = array.dtype.itemsize
    if any(stride % size for stride in array.strides):
        raise ValueError(f"an array of {array.dtype} with strides of {array.strides} bytes")
    strides = tuple(stride // size if n != 1 else 0 for stride, n in zip(array.strides, array.shape))
    return packed(array.shape) if array.flags["C_CONTIGUOUS"] else strides


def _with_constants(shapes, nodes):
    """Shapes with those of the constants that the nodes name."""
    for node in nodes:
        for v in node.inputs:
            if v.owner is None and v not in shapes and isinstance(v.type, GpuArrayType):
                shapes[v] = tuple(map(int, v.data.shape))
    return shapes
