"""Descriptions: what a run was given, as JSON values that are equal in another process if and only if the run is.

A checkpoint keeps them, so that a resumed run can be told from another one:

    numbers, text, None        as they are
    arrays, rows on disk       dtype, shape and a digest of the values; of much data, of parts of it
    functions                  full name; of a user's own also a digest of its code, defaults and what it closes over
    Theano expressions         a digest of the graph: its Ops (`op_names`), types, constants, and the data in it
    minibatches                the same, and what they are drawn from
    dicts, lists, tuples       of these
    any other object           the full name of its class

What a function reads from global variables, what the functions that it calls do, and the attributes of an object of
any other class are not looked at: a change there goes unnoticed. So does a change in data of more than 16 MiB between
the parts that are read.

Examples
--------
>>> describe({"n": 3, "objective": "elbo"})
{'n': 3, 'objective': 'elbo'}
>>> describe(np.arange(3))
'int64 (3,) ceb8fa29cce2'
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import numbers
import os
import re
import types
from typing import Any, Collection, Iterable, Iterator, Sequence

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from theano.compile import SharedVariable
from theano.gof.graph import inputs as graph_inputs
from theano.gof.graph import io_toposort

from fastvae import kinds
from fastvae.checkpoint import op_names
from fastvae.datasets.rows import Rows, as_rows
from fastvae.nn import running_statistics

WHOLE = 2**24  # bytes of an array of which every one is read
PARTS = 256  # parts of a larger one that are
LENGTH = 12  # of a digest, in hexadecimal digits
PACKAGES = ("fastvae", "pymc3", "theano", "numpy", "scipy")  # whose functions their versions tell apart
AVERAGE = "AverageOverRanks"  # by name: what a step computes is the same on any number of ranks
TRANSFERS = ("GpuFromHost", "HostFromGpu", "GpuToGpu")  # by name, for pygpu may be absent
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def describe(value: Any) -> Any:
    """The description of any value, see the module.

    Parameters
    ----------
    value : object

    Returns
    -------
    None, bool, int, float, str, list or dict
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, theano.Variable):
        return f"expression {graph_digest([value])}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {array_digest(value)}"
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [describe(item) for item in value]
        return sorted(items, key=repr) if isinstance(value, (set, frozenset)) else items
    if isinstance(value, functools.partial):
        return {"partial": describe(value.func), "args": describe(value.args), **describe(value.keywords)}
    if isinstance(value, types.MethodType):
        return f"{describe(value.__func__)} of {_name(type(value.__self__))}"
    if isinstance(value, types.FunctionType):
        ours = value.__module__.split(".")[0] in PACKAGES
        return _name(value) if ours else f"{_name(value)} {_digest(_code(value))}"
    if isinstance(value, pm.Model):
        return [f"{name} {type(variable).__name__}" for name, variable in value.named_vars.items()]
    rows = as_rows(value) if isinstance(value, Rows) or type(value).__module__.startswith("h5py") else None
    if rows is not None:
        return f"{rows.dtype} {rows.shape} {rows_digest(rows)}"
    if hasattr(value, "__array__") and not isinstance(value, type):
        return describe(np.asarray(value))
    if isinstance(value, numbers.Number):
        return repr(value)
    return _name(value if isinstance(value, (type, types.BuiltinFunctionType)) else type(value))


def array_digest(array: np.ndarray) -> str:
    """A digest of an array's values, independent of its layout in memory; of more than 16 MiB, of parts of it."""
    array = np.asarray(array)
    if array.dtype.hasobject:
        return _digest([_name(type(value)) for value in array.flat])
    if array.nbytes <= WHOLE or not array.ndim or len(array) < 2:
        parts = [array]
    else:
        some = max(1, WHOLE // PARTS * len(array) // array.nbytes)
        parts = [array[start : start + some] for start in _starts(len(array), some)]
    return _digest(np.ascontiguousarray(part).view(np.uint8) if part.ndim else part.tobytes() for part in parts)


def rows_digest(rows: Rows) -> str:
    """A digest of rows on disk: of parts of them, read as a minibatch reads them."""
    return _digest(np.ascontiguousarray(rows[np.array([start])]) for start in _starts(len(rows), 1))


def graph_digest(
    outputs: Sequence[theano.Variable], changing: Collection[Any] | None = None, placed: bool = False
) -> str:
    """A digest of Theano expressions, equal for graphs of the same Ops on the same constants and data.

    Where data lie, on the host or on a GPU, does not count.

    Parameters
    ----------
    outputs : list of theano variables
    changing : collection of theano.compile.SharedVariable, optional
        What a run changes, so that its values do not count. By default everything except what is marked as data:
        minibatches, `pymc3.Data`, and what `fastvae.not_trainable` marked. Values of scalars, which are schedules, and
        of running means and variances never count.
    placed : bool, optional
        Whether it counts where data lie, as it did in earlier versions.
    """
    statistics = running_statistics(outputs)
    names: dict[theano.Variable, int] = {}
    parts: list[str] = []

    def name_of(variable: theano.Variable) -> int:
        variable = _on_this_rank(variable) if placed else _original(variable)
        if variable not in names:
            names[variable] = len(names)
            kind = variable.type if placed else _type_on_host(variable)
            parts.append(f"shared {kind}" if variable in statistics else _leaf(variable, kind, changing))
        return names[variable]

    for node in io_toposort(graph_inputs(outputs), outputs):
        if type(node.op).__name__ == AVERAGE or (not placed and type(node.op).__name__ in TRANSFERS):
            continue
        parts.append(repr((_op(node.op), [name_of(v) for v in node.inputs], [str(v.type) for v in node.outputs])))
        names.update({v: len(names) + i for i, v in enumerate(node.outputs)})
    parts.append(repr([name_of(v) for v in outputs]))
    return _digest(parts)


def _original(variable: theano.Variable) -> theano.Variable:
    """What a variable is a copy of, from a GPU or to it; itself if it is no copy."""
    variable = _on_this_rank(variable)
    while variable.owner is not None and type(variable.owner.op).__name__ in TRANSFERS:
        variable = _on_this_rank(variable.owner.inputs[0])
    return variable


def _on_this_rank(variable: theano.Variable) -> theano.Variable:
    """What a variable is the mean of over the ranks; itself if it is no mean."""
    node = variable.owner
    if node is None or type(node.op).__name__ != AVERAGE:
        return variable
    return node.inputs[node.outputs.index(variable)]


def _type_on_host(variable: theano.Variable) -> theano.gof.Type:
    """A variable's type; if it is on a GPU, the one that it would have on the host."""
    kind = variable.type
    return tt.TensorType(kind.dtype, kind.broadcastable) if hasattr(kind, "context_name") else kind


def _leaf(variable: theano.Variable, kind: theano.gof.Type, changing: Collection[Any] | None) -> str:
    """What counts of a variable that no Op computes."""
    if isinstance(variable, theano.Constant):
        data = variable.data
        return f"constant {kind} {kinds.plain(array_digest(data) if isinstance(data, np.ndarray) else data)}"
    if not isinstance(variable, SharedVariable):
        return f"input {kind} {variable.name}"
    pipeline = getattr(variable.tag, "pipeline", None)
    if pipeline is not None:
        return f"minibatch {kind} {describe(list(pipeline.sources))}"
    value = variable.get_value(borrow=True)
    if changing is None:
        fixed = hasattr(variable, "dshape") or not getattr(variable.tag, "trainable", True)
    else:
        fixed = variable not in changing
    if fixed and not hasattr(variable, "default_update") and isinstance(value, np.ndarray) and value.ndim:
        return f"data {kind} {array_digest(value)}"
    return f"shared {kind}"


def _op(op: theano.gof.Op) -> list[Any]:
    """An Op by its class, its properties and the graphs inside it."""
    described: list[Any] = [op_names.of_class(type(op))]
    for prop in getattr(op, "__props__", ()):
        value = getattr(op, prop)
        described.append(_op(value) if isinstance(value, theano.gof.Op) else ADDRESS.sub("", repr(describe(value))))
    inner = [part for part in getattr(op, "outputs", ()) if isinstance(part, theano.Variable)]
    if inner:
        described.append(graph_digest(inner))
    elif len(described) == 1:
        described.append(ADDRESS.sub("", str(op)))
    return described


def _code(function: Any) -> Iterator[Any]:
    """What a function is made of: its code, defaults, and the values that it closes over."""
    function = inspect.unwrap(function)  # of a decorated one, such as fastvae's own, what it decorates
    code = function.__code__
    yield code.co_code
    for constant in code.co_consts:
        yield _inner(constant)
    yield repr(code.co_names)
    yield repr(describe([function.__defaults__, function.__kwdefaults__]))
    for cell in function.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not bound yet
            continue
        yield "itself" if content is function else repr(describe(content))


def _inner(constant: Any) -> Any:
    if inspect.iscode(constant):  # a function within the function
        return b"".join([constant.co_code, *(str(_inner(c)).encode() for c in constant.co_consts)])
    return repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)


def _starts(length: int, some: int) -> list[int]:
    return sorted({int(start) for start in np.linspace(0, length - some, min(PARTS, length))})


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()[:LENGTH]
