"""Places in arrays of known shapes, as expressions of C: by axis, by their number in C order, or by both."""

from __future__ import annotations

import math

CTYPES = {
    **{"bool": "ga_bool", "int8": "ga_byte", "uint8": "ga_ubyte", "int16": "ga_short", "uint16": "ga_ushort"},
    **{"int32": "ga_int", "uint32": "ga_uint", "int64": "ga_long", "uint64": "ga_ulong"},
    **{"float32": "ga_float", "float64": "ga_double"},
}


class Place:
    """A place in an array.

    Parameters
    ----------
    shape : tuple of int
    axes : sequence of str, optional
        C expressions, each a name or a number, one an axis.
    number : str, optional
        Its number in C order. At least one of the two is given.
    """

    def __init__(self, shape, axes=None, number=None):
        self.shape = tuple(shape)
        long = [axis for axis, size in enumerate(self.shape) if size != 1]
        if axes is not None:
            axes = tuple(e if size != 1 else "0" for e, size in zip(axes, self.shape))
            if len(long) == 1:
                number = axes[long[0]]
        if not long:
            axes, number = ("0",) * len(self.shape), "0"
        elif len(long) == 1 and axes is None:
            axes = tuple(number if axis == long[0] else "0" for axis in range(len(self.shape)))
        self.axes, self.number = axes, number

    @property
    def key(self):
        """What two places of one array have in common if they are spelled alike."""
        return self.number if self.number is not None else self.axes


class Scope:
    """Lines of C within a pair of braces, and the names of what they have computed.

    Parameters
    ----------
    number_type : str
        The C type of places.
    outer : Scope, optional
        Whose names are visible.
    """

    def __init__(self, number_type, outer=None):
        self.number_type, self.outer = number_type, outer
        self.lines: list[str] = []
        self._names: dict = {}
        self._counter = outer._counter if outer else [0]

    def inner(self):
        """A scope within this one."""
        return Scope(self.number_type, self)

    def known(self, key):
        """The name of what was computed under a key, or None."""
        if key in self._names:
            return self._names[key]
        return self.outer.known(key) if self.outer else None

    def remember(self, key, name):
        self._names[key] = name
        return name

    def fresh(self):
        """A name that no other variable of the loop has."""
        self._counter[0] += 1
        return f"v{self._counter[0]}"

    def computed(self, expression):
        """The name of a place's coordinate that is computed here, unless it was before."""
        if expression.isalnum():
            return expression
        name = self.known(expression)
        if name is None:
            name = self.remember(expression, self.fresh())
            self.lines.append(f"const {self.number_type} {name} = {expression};")
        return name

    def axes(self, place):
        """The place's expression along each axis."""
        if place.axes is None:
            rest, axes = place.number, ["0"] * len(place.shape)
            long = [axis for axis, size in enumerate(place.shape) if size != 1]
            for axis in reversed(long[1:]):
                axes[axis] = self.computed(f"{rest} % {place.shape[axis]}")
                rest = self.computed(f"{rest} / {place.shape[axis]}")
            axes[long[0]] = rest
            place.axes = tuple(axes)
        return place.axes

    def number(self, place):
        """The place's number in C order."""
        if place.number is None:
            number = None
            for e, size in zip(place.axes, place.shape):
                if size != 1:
                    number = e if number is None else f"({number}) * {size} + {e}"
            place.number = self.computed(number)
        return place.number

    def offset(self, place, strides):
        """The offset of an element in an array of these strides, both in elements."""
        if strides == packed(place.shape):
            return self.number(place)
        terms = [(e, s) for e, s, n in zip(self.axes(place), strides, place.shape) if n != 1 and s]
        return " + ".join(f"(ga_ssize){e} * {s}" for e, s in terms) or "0"


def packed(shape):
    """The strides of an array in C order, in elements, 0 for an axis of one."""
    return tuple(math.prod(shape[axis + 1 :]) if size != 1 else 0 for axis, size in enumerate(shape))


def broadcast(place, shape, scope):
    """The place of a smaller array, whose axes are the last ones, that goes with one of what it is broadcast to."""
    if shape == place.shape:
        return place
    extra = len(place.shape) - len(shape)
    if place.number is not None and all(n == 1 for n in place.shape[:extra]) and shape == place.shape[extra:]:
        return Place(shape, number=place.number)
    return Place(shape, scope.axes(place)[extra:])
