"""What keeps a compiled function off the CPU's fast path, found by a walk over its nodes.

    findings(function)          all of the following by name; {} where there is nothing
    float64(function)           variables of float64, those within fused passes too
    single_threaded(function)   passes of one thread over a tensor
    layout_copies(function)     changes of layout
    powers(function)            calls of pow over a tensor

`larger_than=n` leaves out nodes whose arrays had at most n elements in the function's last call.
"""

import re

import numpy as np
import theano.tensor as tt
from theano.compile import DeepCopyOp
from theano.gof import CLinker, FunctionGraph, Op
from theano.scalar import Composite

from fastvae.backends.cpu.ops.layout import Layout

PARALLEL_MIN = 32768  # as in c_code/fastvae.h
THREADED = ("theano.tensor.blas",)  # modules whose Ops call the BLAS


def findings(function, larger_than=None):
    """What is found, as text, by the name of the walk; only walks that find something."""
    found = {
        "float64": float64(function),
        "single-threaded": single_threaded(function, larger_than),
        "layout copies": layout_copies(function),
        "pow": powers(function),
    }
    return {name: [str(each) for each in walk] for name, walk in found.items() if walk}


def _nodes(function):
    return function.maker.fgraph.toposort()


def _scalar_nodes(op):
    """The scalar nodes of a fused pass, those of passes within it too."""
    for node in op.fgraph.apply_nodes if isinstance(op, Composite) else ():
        yield node
        yield from _scalar_nodes(node.op)


def float64(function):
    """Variables of float64: of nodes, and of scalar nodes within fused passes."""
    nodes = _nodes(function)
    nodes += [inner for node in nodes for inner in _scalar_nodes(getattr(node.op, "scalar_op", None))]
    variables = [v for node in nodes for v in (*node.inputs, *node.outputs)]
    return [v for v in dict.fromkeys(variables) if getattr(v, "dtype", None) == "float64"]


def _axes(variable):
    """How many axes of a tensor may be longer than 1."""
    return sum(not b for b in getattr(variable, "broadcastable", ()))


def _size(function, variable):
    """Elements that a variable had in the function's last call; 0 for arguments, which a function does not keep."""
    if isinstance(variable, tt.Constant):
        return np.size(variable.data)
    value = function.fn.storage_map[variable][0]
    if value is None and variable.owner is None:
        return 0
    assert value is not None, f"{variable} is gone: compile with allow_gc=False and call the function"
    return np.size(value)


def _passes_over_nothing(op):
    """Whether an Op's result is a view of its input or says only something of its shape; or it copies a result."""
    exempt = (tt.opt.Shape_i, tt.opt.Shape, tt.opt.MakeVector, DeepCopyOp)
    return isinstance(op, exempt) or bool(getattr(op, "view_map", {})) and not getattr(op, "destroy_map", {})


def _has_own_code(op):
    return any(getattr(type(op), name) is not getattr(Op, name) for name in ("c_code", "make_thunk"))


def _is_threaded(op):
    """Whether an Op is one of ours that is compiled, or calls the BLAS."""
    module = type(op).__module__
    return module.startswith(THREADED) or not module.startswith("theano.") and _has_own_code(op)


def single_threaded(function, larger_than=None):
    """Nodes that pass over a tensor of two axes or more (broadcast ones not counted) and have one thread."""
    found = []
    for node in _nodes(function):
        tensors = [v for v in (*node.inputs, *node.outputs) if _axes(v) >= 2]
        if not tensors or _passes_over_nothing(node.op) or _is_threaded(node.op):
            continue
        if larger_than is None or max(_size(function, v) for v in tensors) > larger_than:
            found.append(node)
    return found


def layout_copies(function):
    """Changes of layout, but those that were a view in the function's last call, as of images of one channel."""
    return [node for node in _nodes(function) if isinstance(node.op, Layout) and not _was_view(function, node)]


def _was_view(function, node):
    images, result = (function.fn.storage_map[v][0] for v in (node.inputs[0], node.outputs[0]))
    return result is not None and images is not None and np.shares_memory(images, result)


def powers(function):
    """Element-wise nodes over at least one axis whose generated C calls pow."""
    found = []
    for node in _nodes(function):
        if isinstance(node.op, tt.Elemwise) and _axes(node.outputs[0]):
            code = CLinker().accept(FunctionGraph(node.inputs, node.outputs), no_recycling=[]).get_src_code()
            if re.search(r"\bpowf?\s*\(", code):
                found.append(node)
    return found
