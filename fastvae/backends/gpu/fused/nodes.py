"""What Theano's Ops mean in a region: the shape of a result, and the lines of C for its value at one place.

shape_of    the shape of a node's result, from those of its inputs
value       the name of a variable's value at a place
is_fused    whether a region computes a node
is_view     whether a node only shows the elements of its first input in other places
source      what a variable shows elements of, through views
is_reduction    whether a node sums up, or otherwise reduces, what is at the places of a larger space
space_of        that space, and which of its axes are reduced
reads_around    whether a node needs an input at other places than its own, so that it must be in memory
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import theano.tensor as tt
from theano import scalar
from theano.compile.ops import Rebroadcast
from theano.gpuarray.basic_ops import GpuAlloc, GpuContiguous, GpuJoin, GpuReshape
from theano.gpuarray.elemwise import GpuCAReduceCuda, GpuDimShuffle, GpuElemwise
from theano.gpuarray.subtensor import GpuIncSubtensor, GpuSubtensor
from theano.gpuarray.type import GpuArrayConstant, GpuArrayType
from theano.tensor.subtensor import get_idx_list

from fastvae.backends.gpu.fused.places import CTYPES, Place, broadcast
from fastvae.backends.gpu.ops.into_zeros import IntoZeros
from fastvae.backends.gpu.ops.one_channel import ImageGradients, OneChannel
from fastvae.backends.gpu.rows import GpuRowsInRange

NAN, INFINITY = 'nan("")', "__longlong_as_double(0x7ff0000000000000LL)"
VIEWS = (GpuDimShuffle, GpuReshape, GpuSubtensor, GpuContiguous, Rebroadcast)


def is_view(node):
    if node is None or not isinstance(node.op, VIEWS) or not isinstance(node.inputs[0].type, GpuArrayType):
        return False
    return not _is_packing(node) and (not isinstance(node.op, GpuSubtensor) or _is_plain(node.op.idx_list))


def _is_packing(node):
    """Whether a node puts elements into another order, which a view shows them in."""
    source = node.inputs[0].owner
    return isinstance(node.op, GpuContiguous) and source is not None and isinstance(source.op, GpuDimShuffle)


def source(variable):
    """What a variable shows elements of: through views, to what something computes."""
    while is_view(variable.owner):
        variable = variable.owner.inputs[0]
    return variable


def is_fused(node):
    if node is None or len(node.outputs) != 1 or not all(map(_is_known, (*node.inputs, *node.outputs))):
        return False
    op = node.op
    if getattr(op, "destroy_map", None) or not isinstance(node.outputs[0].type, GpuArrayType):
        return False
    if isinstance(op, GpuElemwise):
        return not op.inplace_pattern
    if isinstance(op, GpuCAReduceCuda):
        return any(op.reduce_mask) and _is_reduced(op, node)
    if isinstance(op, GpuIncSubtensor):
        return _is_plain(op.idx_list)
    if isinstance(op, GpuJoin):
        return (
            isinstance(node.inputs[0], tt.Constant) and len({v.dtype for v in (*node.inputs[1:], *node.outputs)}) == 1
        )
    return isinstance(op, (GpuAlloc, GpuRowsInRange, ImageGradients, IntoZeros, OneChannel)) or _is_packing(node)


def is_reduction(node):
    return node is not None and isinstance(node.op, (GpuCAReduceCuda, ImageGradients))


def reads_around(node, variable):
    if isinstance(node.op, ImageGradients):
        return variable is node.inputs[0]
    return isinstance(node.op, OneChannel)


def _is_known(variable):
    on_device = isinstance(variable.type, GpuArrayType)
    return not on_device or (variable.dtype in CTYPES and variable.type.context.kind == b"cuda")


def _is_plain(index):
    """Whether an index takes whole runs of axes, or single places of them."""
    return all(not isinstance(entry, slice) or entry.step is None for entry in index)


def _is_reduced(op, node):
    if op.acc_dtype not in CTYPES:
        return False
    largest = isinstance(op.scalar_op, (scalar.Maximum, scalar.Minimum)) and op.acc_dtype.startswith("float")
    return largest or isinstance(op.scalar_op, (scalar.Add, scalar.Mul))


def shape_of(node, shapes, values):
    """The shape of a node's result.

    Parameters
    ----------
    node : Apply
    shapes : dict
        Of its inputs on the device.
    values : dict
        Of its inputs on the host.

    Raises
    ------
    ValueError, IndexError
        If the inputs do not fit, as in Theano's own Ops.
    """
    op, first = node.op, shapes.get(node.inputs[0])
    if isinstance(op, GpuElemwise):
        return _broadcast_shape(node, [shapes[v] for v in node.inputs])
    if isinstance(op, GpuCAReduceCuda):
        if 0 in first and not isinstance(op.scalar_op, (scalar.Add, scalar.Mul)):
            raise ValueError(f"{op} of no elements, shape {first}")
        return tuple(size for size, reduced in zip(first, op.reduce_mask) if not reduced)
    if isinstance(op, (ImageGradients, OneChannel)):
        return _convolved(node, *(shapes[v] for v in node.inputs))
    if isinstance(op, GpuDimShuffle):
        if any(first[axis] != 1 for axis in op.drop):
            raise ValueError(f"{op} drops an axis of shape {first} that is not 1")
        return tuple(1 if axis == "x" else first[axis] for axis in op.new_order)
    if isinstance(op, GpuReshape):
        return _reshaped(first, [int(n) for n in values[node.inputs[1]]])
    if isinstance(op, (GpuSubtensor, GpuIncSubtensor)):
        whole = tuple(length for *_, length, dropped in _index(node, first, values) if not dropped)
        if isinstance(op, GpuSubtensor):
            return whole
        _fits(node, shapes[node.inputs[1]], whole)
        return first
    if isinstance(op, IntoZeros):
        return _holding(op, first, tuple(int(values[v]) for v in node.inputs[1:]))
    if isinstance(op, GpuAlloc):
        shape = tuple(int(values[v]) for v in node.inputs[1:])
        _fits(node, first, shape)
        return shape
    if isinstance(op, GpuJoin):
        return _joined(node, [shapes[v] for v in node.inputs[1:]])
    if isinstance(op, GpuRowsInRange):
        return (*shapes[node.inputs[1]], *first[1:])
    if isinstance(op, Rebroadcast):
        for axis, is_one in op.axis.items():
            if is_one and first[axis] != 1:
                raise ValueError(f"{op}: axis {axis} of shape {first} is not 1")
    return first  # GpuContiguous too


def space_of(node, shapes):
    """The shape of the space that a reduction goes through, and by axis whether it is reduced."""
    if isinstance(node.op, ImageGradients):
        image, top, _ = (shapes[v] for v in node.inputs)
        return (*top[:2], image[1], *top[2:]), (0, 0, 0, 1, 1)
    return shapes[node.inputs[0]], node.op.reduce_mask


def _convolved(node, image, *others):
    """The shape of a convolution of images, by weights, or of the gradients of its weights, by top and weights."""
    weights = others[-1]
    top = (image[0], weights[0], *(n - size + 1 for n, size in zip(image[2:], weights[2:])))
    if image[1] != weights[1] or min(top[2:]) < 1 or (len(others) == 2 and others[0] != top):
        raise ValueError(f"{node.op}: image {image}, weights {weights} and top {others[0]} do not belong together")
    return top if len(others) == 1 else (image[0], math.prod(weights))


def _broadcast_shape(node, shapes):
    found = []
    for axis, sizes in enumerate(zip(*shapes)):
        long = {size for size, v in zip(sizes, node.inputs) if not v.broadcastable[axis] or size != 1}
        if len(long) > 1:
            raise ValueError(f"{node.op}: input dimension mis-match on axis {axis} of shapes {shapes}")
        found.append(long.pop() if long else 1)
    return tuple(found)


def _fits(node, shape, whole):
    """Raise a ValueError unless an array of `shape` is broadcast to `whole`."""
    inner = whole[len(whole) - len(shape) :]
    if len(shape) > len(whole) or any(n not in (1, m) for n, m in zip(shape, inner)):
        raise ValueError(f"{node.op}: shape {shape} does not fit into {whole}")


def _reshaped(old, new):
    size, known = math.prod(old), math.prod(n for n in new if n != -1)
    if new.count(-1) == 1 and known and not size % known:
        new[new.index(-1)] = size // known
    if -1 in new or math.prod(new) != size:
        raise ValueError(f"total size of new array must be unchanged: {old} does not become {tuple(new)}")
    return tuple(new)


def _holding(op, part, whole):
    """The shape of zeros that hold a part at a slice."""
    for n, start, step, size in zip(part, op.abstract_op.starts, op.abstract_op.steps, whole):
        first = start + size if start < 0 else start
        if n and not 0 <= first + (n - 1) * step < size:
            raise ValueError(f"{op}: shape {part} does not fit into zeros of shape {whole}")
    return whole


def _joined(node, shapes):
    axis, first = int(node.inputs[0].data) % len(shapes[0]), shapes[0]
    if any(shape[:axis] + shape[axis + 1 :] != first[:axis] + first[axis + 1 :] for shape in shapes):
        raise ValueError(f"{node.op}: shapes {shapes} differ beside axis {axis}")
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])


def _index(node, shape, values):
    """By axis of the indexed array: its first place, the number of places, and whether the axis is dropped."""
    n_arrays = 1 if isinstance(node.op, GpuSubtensor) else 2
    inputs = [None, *(values[v] for v in node.inputs[n_arrays:])]
    entries = get_idx_list(inputs, node.op.idx_list) if node.op.idx_list else ()
    for axis, size in enumerate(shape):
        entry = entries[axis] if axis < len(entries) else slice(None)
        if isinstance(entry, slice):
            places = range(size)[entry]
            yield places.start if places else 0, len(places), False
        else:
            if not -size <= entry < size:
                raise IndexError(f"{node.op}: index {entry} is out of bounds for axis {axis} of size {size}")
            yield int(entry) % size, 1, True


class Values:
    """The values of a region's variables at places, as names of C variables in a scope.

    Parameters
    ----------
    shapes, host : dict
        The shapes of variables on the device, the values of those on the host.
    loaded : dict
        Of variables that are in memory: the name of the array and its strides in elements.
    """

    def __init__(self, shapes, host, loaded):
        self.shapes, self.host, self.loaded = shapes, host, loaded
        self.used, self.support = {}, {}  # arrays that are read, and code that functions of numbers need

    def value(self, scope, variable, place):
        """The name of a variable's value at a place, computed in a scope."""
        key = variable, place.key
        name = scope.known(key)
        if name is not None:
            return name
        name = scope.fresh()
        kind = CTYPES[variable.dtype]
        if variable in self.loaded:
            array, strides = self.loaded[variable]
            self.used[array] = variable
            scope.lines.append(f"const {kind} {name} = {array}[{scope.offset(place, strides)}];")
        elif isinstance(variable, GpuArrayConstant):
            scope.lines.append(f"const {kind} {name} = {literal(np.asarray(variable.data))};")
        else:
            node = variable.owner
            seen = self._seen(scope, node, place)
            if seen is not None:
                name = self.value(scope, node.inputs[0], seen)
            else:
                self._computed(scope, node, place, kind, name)
        return scope.remember(key, name)

    def _seen(self, scope, node, place):
        """The place of its first input that a view shows at a place; None for what is no view."""
        op, shape = node.op, self.shapes.get(node.inputs[0])
        if isinstance(op, (GpuContiguous, Rebroadcast)):
            return place
        if isinstance(op, GpuReshape):
            return Place(shape, number=scope.number(place))
        if isinstance(op, GpuDimShuffle):
            order = [axis for axis in op.new_order if axis != "x"]
            long = [axis for axis in order if shape[axis] != 1]
            if place.number is not None and long == sorted(long):
                return Place(shape, number=place.number)
            axes = ["0"] * len(shape)
            for e, axis in zip(scope.axes(place), op.new_order):
                if axis != "x":
                    axes[axis] = e
            return Place(shape, axes)
        if isinstance(op, GpuSubtensor):
            index = list(_index(node, shape, self.host))
            if place.number is not None and all(n == length for (_, n, _), length in zip(index, shape)):
                return Place(shape, number=place.number)
            axes = iter(scope.axes(place))
            return Place(shape, [_moved(scope, "0" if dropped else next(axes), start) for start, _, dropped in index])
        return None

    def _computed(self, scope, node, place, kind, name):
        """Lines that compute the value of a node which is no view."""
        op = node.op
        if isinstance(op, GpuElemwise):
            self._elementwise(scope, node, place, kind, name)
        elif isinstance(op, GpuAlloc):
            v = node.inputs[0]
            scope.lines.append(
                f"const {kind} {name} = {self.value(scope, v, broadcast(place, self.shapes[v], scope))};"
            )
        elif isinstance(op, GpuRowsInRange):
            self._row(scope, node, place, kind, name)
        elif isinstance(op, GpuJoin):
            self._part(scope, node, place, kind, name)
        elif isinstance(op, IntoZeros):
            self._placed(scope, node, place, kind, name)
        elif isinstance(op, OneChannel):
            self._products(scope, node, place, kind, name)
        else:
            self._changed(scope, node, place, kind, name)

    def _elementwise(self, scope, node, place, kind, name):
        support, code = node.op._generate_op_string(node)
        if support:
            self.support[support] = None
        values = [self.value(scope, v, broadcast(place, self.shapes[v], scope)) for v in node.inputs]
        given = "".join(f"const {CTYPES[v.dtype]} i{i} = {e}; " for i, (v, e) in enumerate(zip(node.inputs, values)))
        scope.lines.append(f"{kind} {name}; {{ {given}{kind} o0; {code} {name} = o0; }}")

    def _row(self, scope, node, place, kind, name):
        x, rows = node.inputs
        first, *rest = scope.axes(place)
        row, n = self.value(scope, rows, Place(self.shapes[rows], [first])), self.shapes[x][0]
        signed = not rows.dtype.startswith("uint")
        at = scope.computed(f"({scope.number_type})({row} < 0 ? {row} + {n} : {row})" if signed else f"0 + {row}")
        scope.lines.append(f"const {kind} {name} = {self.value(scope, x, Place(self.shapes[x], [at, *rest]))};")

    def _part(self, scope, node, place, kind, name):
        """The value in the one of some joined arrays that a place is in."""
        axes, shape = scope.axes(place), self.shapes[node.outputs[0]]
        axis, start = int(node.inputs[0].data) % len(shape), 0
        lines = [f"{kind} {name} = 0;"]
        for v in node.inputs[1:]:
            length, inner = self.shapes[v][axis], scope.inner()
            if not length:
                continue
            at = inner.computed(f"{axes[axis]} - {start}") if start else axes[axis]
            got = self.value(inner, v, Place(self.shapes[v], [*axes[:axis], at, *axes[axis + 1 :]]))
            lines.append(f"if ({axes[axis]} >= {start} && {axes[axis]} < {start + length}) {{")
            lines += [*inner.lines, f"{name} = {got};", "}"]
            start += length
        scope.lines += lines

    def _placed(self, scope, node, place, kind, name):
        """The value of zeros that hold an array at a slice."""
        op, part, inner = node.op.abstract_op, self.shapes[node.inputs[0]], scope.inner()
        scope.lines.append(f"{kind} {name} = 0;")
        if 0 in part:
            return
        tests, axes = [], []
        for e, n, start, step, size in zip(scope.axes(place), part, op.starts, op.steps, place.shape):
            behind = _moved(scope, e, -(start + size if start < 0 else start))  # wraps where it is before the start
            tests += [f"{behind} < {(n - 1) * step + 1}"] + [f"{behind} % {step} == 0"] * (step > 1)
            axes.append(inner.computed(f"{behind} / {step}") if step > 1 else behind)
        got = self.value(inner, node.inputs[0], Place(part, axes))
        scope.lines += [f"if ({' && '.join(tests)}) {{", *inner.lines, f"{name} = {got};", "}"]

    def _products(self, scope, node, place, kind, name):
        """The value of a convolution: products of the pixels around a place and the weights."""
        image, weights = node.inputs
        n, o, y, x = scope.axes(place)
        scope.lines.append(f"{kind} {name} = 0;")
        for c, i, j in itertools.product(*map(range, self.shapes[weights][1:])):
            at = self._tap(node, i, j, self.shapes[weights])
            pixel = Place(self.shapes[image], [n, str(c), _moved(scope, y, at[0]), _moved(scope, x, at[1])])
            weight = Place(self.shapes[weights], [o, str(c), str(i), str(j)])
            scope.lines.append(f"{name} += {self.value(scope, image, pixel)} * {self.value(scope, weights, weight)};")

    def gradients(self, scope, node, number):
        """The expressions that `ImageGradients` sums up at a place of its space, one a pixel of the kernel."""
        image, top, like = node.inputs
        n, o, c, y, x = scope.axes(Place(space_of(node, self.shapes)[0], number=number))
        place = Place(self.shapes[top], [n, o, y, x], number if self.shapes[image][1] == 1 else None)
        g = self.value(scope, top, place)
        for i, j in itertools.product(*map(range, self.shapes[like][2:])):
            down, along = self._tap(node, i, j, self.shapes[like])
            pixel = Place(self.shapes[image], [n, c, _moved(scope, y, down), _moved(scope, x, along)])
            yield f"{g} * {self.value(scope, image, pixel)}"

    @staticmethod
    def _tap(node, i, j, weights):
        """How far from a pixel of the top the pixel is that a weight belongs to."""
        flip = node.op.flip if isinstance(node.op, ImageGradients) else node.op.abstract_op.flip
        return (weights[2] - 1 - i, weights[3] - 1 - j) if flip else (i, j)

    def _changed(self, scope, node, place, kind, name):
        """The value of an array that other numbers are added to, or put into, in a part of it."""
        x, y = node.inputs[:2]
        axes, index = scope.axes(place), list(_index(node, self.shapes[x], self.host))
        tests = [
            f"{e} >= {start} && {e} < {start + length}"
            for e, (start, length, _), size in zip(axes, index, place.shape)
            if length != size
        ]
        inner = scope.inner()
        kept = [_moved(inner, e, -start) for e, (start, _, dropped) in zip(axes, index) if not dropped]
        whole = Place([length for _, length, dropped in index if not dropped], kept)
        changes = f"{name} = " if node.op.set_instead_of_inc else f"{name} += "
        scope.lines.append(f"{kind} {name} = {self.value(scope, x, place)};")
        if 0 not in whole.shape:
            got = self.value(inner, y, broadcast(whole, self.shapes[y], inner))
            scope.lines += [f"if ({' && '.join(tests) or 1}) {{", *inner.lines, f"{changes}{got};", "}"]


def _moved(scope, expression, by):
    if not by:
        return expression
    return (
        str(by) if expression == "0" and by > 0 else scope.computed(f"{expression} {'+' if by > 0 else '-'} {abs(by)}")
    )


def literal(value):
    """A number as an expression of C of its own type."""
    kind, number = CTYPES[value.dtype.name], value.ravel()[0]
    if value.dtype.kind != "f":
        return f"({kind}){int(number)}LL"
    if not np.isfinite(number):
        return f"({kind})({NAN if np.isnan(number) else INFINITY if number > 0 else '-' + INFINITY})"
    digits = np.format_float_scientific(number, unique=True, trim="0")
    return f"({digits}{'f' if kind == 'ga_float' else ''})"
