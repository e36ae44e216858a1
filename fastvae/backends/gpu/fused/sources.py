"""The text of a kernel: the loops of a launch in CUDA, with libgpuarray's names.

Shapes and strides are numbers in it, so that divisions by them cost little; the arrays and their offsets are arguments.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from theano.gpuarray.elemwise import get_scal

from fastvae.backends.gpu.fused.nodes import INFINITY, Values
from fastvae.backends.gpu.fused.places import CTYPES, Place, Scope, packed
from fastvae.backends.gpu.ops.one_channel import ImageGradients

THREADS, SINGLE = 256, 512  # of a block; of the one block of a launch with barriers between its steps
BLOCKS = 2048  # of a loop, at most; each thread then takes several elements
ENOUGH = 1 << 16  # threads that fill a card
EXCHANGED = 32  # bytes of totals that each thread exchanges at once, through shared memory


class Source:
    """A kernel.

    Parameters
    ----------
    name : str
    launch : fastvae.backends.gpu.fused.plan.Launch
    values : fastvae.backends.gpu.fused.nodes.Values
        What the launch stores becomes loaded there.
    arrays : dict
        The name of the array that each variable's value is stored in.

    Attributes
    ----------
    text : str
    threads, blocks : int
    arguments : list of str
        The arrays; each is an argument, followed by its offset in bytes.
    """

    def __init__(self, name, launch, values: Values, arrays):
        self.threads = SINGLE if launch.is_single_block else THREADS
        self.values, self.arrays = values, arrays
        values.used.clear()
        self.written, self._exchanges = {}, False
        sizes = [math.prod(shape) for shape in values.shapes.values()]
        self.number_type = "ga_uint" if max(sizes, default=0) < 1 << 31 else "ga_size"
        body = self._single_block(launch) if launch.is_single_block else self._at_once(launch)
        self.text = self._text(name, body)

    def _single_block(self, launch):
        self.blocks = 1
        lines = ["const ga_uint block = 0, blocks = 1;"]
        for i, step in enumerate(launch.steps):
            lines += ["local_barrier();"] * bool(i)
            for loop in step:
                lines += ["{", *self._loop(loop)[0], "}"]
            self._is_stored(step)
        return lines

    def _at_once(self, launch):
        lines: list[str] = []
        self.blocks = 0
        for loop in launch.loops:
            code, blocks = self._loop(loop)
            lines += [f"if (GID_0 >= {self.blocks} && GID_0 < {self.blocks + blocks}) {{"]
            lines += [f"const ga_uint block = GID_0 - {self.blocks}, blocks = {blocks};", *code, "}"]
            self.blocks += blocks
        self._is_stored(launch.loops)
        return lines

    def _is_stored(self, loops):
        for loop in loops:
            for v in (*loop.stored, *loop.reduced):
                self.values.loaded[v] = self.arrays[v], packed(self.values.shapes[v])

    def _text(self, name, body):
        kinds = {**{array: v for array, v in self.values.used.items()}, **self.written}
        self.arguments = sorted(kinds, key=lambda array: int(array[1:]))
        arguments = [f"GLOBAL_MEM {CTYPES[kinds[a].dtype]} *{a}, const ga_size {a}_at" for a in self.arguments]
        bases = [
            f"{a} = (GLOBAL_MEM {CTYPES[kinds[a].dtype]} *)((GLOBAL_MEM char *){a} + {a}_at);" for a in self.arguments
        ]
        shared = [f"LOCAL_MEM ga_ulong shared[{EXCHANGED // 8 * self.threads}];"] * self._exchanges
        head = ['#include "cluda.h"', *self.values.support, f"KERNEL void {name}({', '.join(arguments)}) {{"]
        return "\n".join([*head, *bases, *shared, *body, "}", ""])

    def _loop(self, loop):
        """The lines of a loop, and how many blocks it is for."""
        return self._reduction(loop) if loop.reduced else self._pass(loop)

    def _pass(self, loop):
        scope = Scope(self.number_type)
        self._stores(scope, loop.stored, "i")
        step = f"i += blocks * {self.threads}"
        head = f"for ({self.number_type} i = block * {self.threads} + LID_0; i < {loop.size}; {step}) {{"
        return [head, *scope.lines, "}"], blocks_for(loop.size, self.threads)

    def _stores(self, scope, variables, number):
        for v in variables:
            shape, array = self.values.shapes[v], self.arrays[v]
            got = self.values.value(scope, v, Place(shape, number=number))
            scope.lines.append(f"{array}[{number}] = {got};")
            self.written[array] = v

    def _reduction(self, loop):
        m, r = loop.results, loop.size // loop.results if loop.results else 0
        runs = loop.runs
        along = not runs or runs[-1][1]  # neighbours in memory are reduced: neighbouring threads share a result
        parts = parts_of(m, r, along, self.threads)
        groups = self.threads // parts
        group, part = (f"LID_0 / {parts}", f"LID_0 % {parts}") if along else (f"LID_0 % {groups}", f"LID_0 / {groups}")
        scope = Scope(self.number_type)
        number = scope.computed(number_of(runs)) if loop.size else "0"
        self._stores(scope, loop.stored if loop.size else [], number)
        totals = [total for v in loop.reduced for total in self._totals(scope, v, number)]
        t = self.number_type
        lines = [
            f"const ga_uint part = {part};",
            f"for ({t} first = block * {groups}; first < {m}; first += blocks * {groups}) {{",
            f"const {t} m = first + {group};",
            *[f"{total.kind} {total.name} = {start_of(total.op)};" for total in totals],
        ]
        if loop.size:
            adding = [total.with_one_more(f"({total.kind})({total.value})") for total in totals]
            lines += [f"if (m < {m}) for ({t} r = part; r < {r}; r += {parts}) {{", *scope.lines, *adding, "}"]
        return [*lines, *self._gathered(totals, m, parts, 1 if along else groups), "}"], blocks_for(m, groups)

    def _totals(self, scope, variable, number):
        """What a reduction adds up, for each of its results at a place, computed in a scope."""
        node, array = variable.owner, self.arrays[variable]
        self.written[array] = variable
        if isinstance(node.op, ImageGradients):
            values = list(self.values.gradients(scope, node, number))
        else:
            (argument,) = node.inputs
            got = self.values.value(scope, argument, Place(self.values.shapes[argument], number=number))
            values = [self._before(scope, node.op, argument, got)]
        for i, value in enumerate(values):
            place = "m" if len(values) == 1 else f"m * {len(values)} + {i}"
            yield Total(node.op, f"total_{scope.fresh()}", value, f"{array}[{place}]")

    def _before(self, scope, op, argument, got):
        """What a reduction's own function makes of a number, as in a sum of squares."""
        if not op.pre_scalar_op:
            return got
        name, kind = scope.fresh(), CTYPES[argument.dtype]
        scope.lines.append(f"{kind} {name}; {{ {scalar_code(op.pre_scalar_op, [argument.dtype], [got], name)} }}")
        return name

    def _gathered(self, totals, m, parts, stride):
        """Lines that reduce what the parts' threads hold, and store it."""
        store = [f"{total.place} = {total.name};" for total in totals]
        if parts == 1:
            return [f"if (m < {m}) {{", *store, "}"]
        lines = []
        for kind in dict.fromkeys(total.kind for total in totals):
            same = [total for total in totals if total.kind == kind]
            at_once = EXCHANGED // np.dtype(same[0].op.acc_dtype).itemsize
            for first in range(0, len(same), at_once):
                lines += self._exchanged(same[first : first + at_once], kind, parts, stride)
        return [*lines, f"if (part == 0 && m < {m}) {{", *store, "}"]

    def _exchanged(self, totals, kind, parts, stride):
        self._exchanges = True
        places = [f"(({kind} *)shared)[{i * self.threads} + LID_0" for i in range(len(totals))]
        own = [f"{place}] = {total.name};" for total, place in zip(totals, places)]
        other = [total.with_one_more(f"{place} + k * {stride}]") for total, place in zip(totals, places)]
        return [
            *own,
            "local_barrier();",
            f"for (ga_uint k = {parts // 2}; k; k /= 2) {{",
            *["if (part < k) {", *other, *own, "}"],
            "local_barrier();",
            "}",
        ]


class Total(NamedTuple):
    """What a thread adds up of a result: the reduction's Op, the total's name, what is added, and where it goes."""

    op: Any
    name: str
    value: str
    place: str

    @property
    def kind(self) -> str:
        return CTYPES[self.op.acc_dtype]

    def with_one_more(self, value: str) -> str:
        """Lines that take one more value into the total."""
        code = scalar_code(self.op.scalar_op, [self.op.acc_dtype] * 2, ["one", "two"], self.name)
        return f"{{ const {self.kind} one = {self.name}, two = {value}; {code} }}"


def scalar_code(op, dtypes, inputs, output):
    """The lines of a function of numbers."""
    node = op.make_node(*[get_scal(dtype)() for dtype in dtypes])
    code = op.c_code(node, "scalar", list(inputs), [output], {"fail": "return;"})
    for name, kind in CTYPES.items():
        code = code.replace(f"npy_{name}", kind)
    return code


def start_of(op):
    """What a reduction of no elements is."""
    name = type(op.scalar_op).__name__
    return {"Add": "0", "Mul": "1", "Maximum": f"-{INFINITY}", "Minimum": INFINITY}[name]


def number_of(runs):
    """The number of an element in C order, from that of its result, m, and that within the result's elements, r."""
    kept = [n for n, reduced in runs if not reduced]
    summed = [n for n, reduced in runs if reduced]
    terms, stride = [], 1
    left = {False: (kept, "m"), True: (summed, "r")}
    inner = {False: 1, True: 1}
    for n, reduced in reversed(runs):
        sizes, name = left[reduced]
        e = name if inner[reduced] == 1 else f"{name} / {inner[reduced]}"
        if inner[reduced] * n != math.prod(sizes):
            e = f"{e} % {n}"
        terms.append(f"({e}) * {stride}" if stride != 1 else f"{e}")
        inner[reduced] *= n
        stride *= n
    return " + ".join(f"({term})" for term in terms) or "0"


def parts_of(m, r, along, threads):
    """How many threads share one of m results of r elements each: a power of two, at most a block's threads."""
    limit = threads if along else max(1, threads // min(32, power_of_two(m)))
    wanted = ENOUGH // max(1, m)
    if along:
        wanted = max(wanted, 32)
    return max(1, min(limit, power_of_two(wanted), power_of_two(r)))


def power_of_two(n):
    """The largest power of two that is not above n, at least 1."""
    return 1 << (max(1, n).bit_length() - 1)


def blocks_for(n, each):
    return max(1, min(BLOCKS, -(-n // each)))
