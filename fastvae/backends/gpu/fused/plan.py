"""The loops of a region whose shapes are known, and the kernels that they share.

A loop runs over the elements of one index space. It stores some results element by element, and sums (or otherwise
reduces) others along the same axes. What it needs it computes anew, unless an earlier loop has stored it. A loop's
depth is the number of loops that must have ended before: all of one depth share a launch, a few blocks each. Successive
depths whose loops are all small share one launch of a single block, which waits at a barrier between them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from fastvae.backends.gpu.fused.nodes import is_reduction, shape_of, space_of

SMALL = 1 << 15  # elements that one block goes through


@dataclass(eq=False)
class Loop:
    """One loop.

    Parameters
    ----------
    depth : int
    runs : tuple of (int, bool)
        The index space in C order, neighbouring axes of one kind as one: its size, and whether it is reduced.
    stored, reduced : list of variables
    """

    depth: int
    runs: tuple
    stored: list = field(default_factory=list)
    reduced: list = field(default_factory=list)

    @property
    def size(self) -> int:
        return math.prod(n for n, _ in self.runs)

    @property
    def results(self) -> int:
        """Elements of a reduced result."""
        return math.prod(n for n, reduced in self.runs if not reduced)


@dataclass
class Launch:
    """Loops that run in one launch: at once if there is one step, else one step after the other in one block."""

    steps: list[list[Loop]]

    @property
    def is_single_block(self) -> bool:
        return len(self.steps) > 1

    @property
    def loops(self):
        return list(itertools.chain(*self.steps))


def runs_of(shape, mask=()):
    """The axes of a shape without those of one, neighbours of one kind merged: sizes, and which are reduced."""
    runs: list[tuple[int, bool]] = []
    for size, reduced in zip(shape, map(bool, mask or (0,) * len(shape))):
        if size != 1 and runs and runs[-1][1] == reduced:
            runs[-1] = runs[-1][0] * size, reduced
        elif size != 1:
            runs.append((size, reduced))
    return tuple(runs)


class Plan:
    """How a region is computed.

    Parameters
    ----------
    nodes : list of Apply
        In topological order.
    outputs : list of variables
    overwritten : dict of variable to variable
        Results that are stored in the memory of an input.
    shapes, host : dict
        Of the inputs: their shapes on the device, their values on the host. `shapes` gets those of all results.

    Attributes
    ----------
    launches : list of Launch
    loops : list of Loop
    """

    def __init__(self, nodes, outputs, overwritten, shapes, host):
        self.nodes, self.outputs, self.overwritten = nodes, outputs, overwritten
        self.shapes = shapes
        for node in nodes:
            shapes[node.outputs[0]] = shape_of(node, shapes, host)
        self._depth: dict = {}
        self.loops = self._planned()
        self.launches = launches(self.loops)

    def depth(self, variable):
        """How many loops must have ended before this one's value can be computed at a place."""
        if variable not in self._depth:
            arguments = variable.owner.inputs if variable.owner else ()
            self._depth[variable] = max((self.depth(v) + is_reduction(v.owner) for v in arguments), default=0)
        return self._depth[variable]

    def reached(self, variable):
        """Every variable whose value a loop computes or loads for that of a variable."""
        found, waiting = set(), [variable]
        while waiting:
            v = waiting.pop()
            if v in found:
                continue
            found.add(v)
            is_loaded = v is not variable and is_reduction(v.owner)
            if v.owner and not is_loaded:
                waiting += v.owner.inputs
        return found

    def _planned(self):
        loops: list[Loop] = []
        for node in self.nodes:
            (result,) = node.outputs
            if is_reduction(node):
                runs = runs_of(*space_of(node, self.shapes))
                self._loop(loops, self.depth(result), runs).reduced.append(result)
        plain = [v for v in self.outputs if not is_reduction(v.owner)]
        for v in plain:
            if v not in self.overwritten:
                self._store(loops, v)
        for v in self._last(plain):
            self._overwrite(loops, v)
        return loops

    def _loop(self, loops, depth, runs):
        for loop in loops:
            if (loop.depth, loop.runs) == (depth, runs):
                return loop
        loops.append(Loop(depth, runs))
        return loops[-1]

    def _store(self, loops, variable):
        """Let a result be stored by the loop that computes it anyway, else by one of as many elements, or a new one."""
        depth, size = self.depth(variable), math.prod(self.shapes[variable])
        fitting = [loop for loop in loops if loop.depth == depth and loop.size == size]
        for loop in fitting:
            if any(variable in self.reached(v) for v in loop.reduced):
                loop.stored.append(variable)
                return
        (fitting[0] if fitting else self._loop(loops, depth, runs_of((size,)))).stored.append(variable)

    def _last(self, variables):
        """The results that overwrite inputs, those that read what another one overwrites before it."""
        waiting = [v for v in variables if v in self.overwritten]
        while waiting:
            for v in waiting:
                source = self.overwritten[v]
                if not any(source in self.reached(w) for w in waiting if w is not v):
                    waiting.remove(v)
                    yield v
                    break
            else:
                raise RuntimeError("results of a region overwrite each other's inputs")

    def _overwrite(self, loops, variable):
        """Let a result be stored in the place of what it is made of, after every loop that reads this.

        A loop of one element may read it itself: it loads what it needs before it stores anything else there.
        """
        source, depth, runs = self.overwritten[variable], self.depth(variable), runs_of(self.shapes[variable])
        readers = [loop for loop in loops if any(source in self.reached(v) for v in (*loop.stored, *loop.reduced))]
        own = Loop(max([depth, *(loop.depth for loop in readers)]), runs)
        for loop in loops:
            if not runs and (loop.depth, loop.runs) == (own.depth, runs) and not loop.reduced:
                own = loop
        if any(loop.depth == own.depth and loop is not own for loop in readers):
            own = Loop(own.depth + 1, runs)
        own.stored.append(variable)
        if own not in loops:
            loops.append(own)


def launches(loops: list[Loop]) -> list[Launch]:
    """The launches of some loops, in order."""
    loops = [loop for loop in loops if loop.size or (loop.reduced and loop.results)]
    found: list[Launch] = []
    was_small = False
    for _, group in itertools.groupby(sorted(loops, key=lambda loop: loop.depth), key=lambda loop: loop.depth):
        step = list(group)
        is_small = all(loop.size <= SMALL for loop in step)
        if found and was_small and is_small:
            found[-1].steps.append(step)
        else:
            found.append(Launch([step]))
        was_small = is_small
    return found
