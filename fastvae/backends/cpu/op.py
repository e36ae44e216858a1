"""What all Ops of the CPU share: the compiled module that they run in, and how a file declares what its Op lowers.

    CpuOp       an Op of the compiled module
    lowers      decorator of an Op, or of a function of a node: takes the place of these Ops at that stage
    of_pattern  such a function, from a spelled pattern
    lowering    the rewrite that applies what was declared for a stage

An Op that stands for one abstract Op, with its settings, is no more than ::

    @lowers(abstract.AdamStep)
    class Adam(CpuOp):
        ...

One of images alone is an `OfImages` (`ops/images.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import theano.tensor as tt
from theano.gof import local_optimizer
from theano.gof.opt import copy_stack_trace

from fastvae.backends.compiled_op import CompiledOp, Lowerings, all_float32
from fastvae.backends.cpu import library

Target = TypeVar("Target")
# Positions in the order of rewrites (`fastvae.backends.cpu.register`) at which Ops of the CPU take the place of others.
STAGES = {stage: Lowerings() for stage in ("recognise", "lift", "lower", "passes", "product", "vectorize")}


class CpuOp(CompiledOp):
    """An Op of the CPU backend's compiled module, or of a part of it, a folder of c_code/parts/."""

    part: str | None = None

    def module(self):
        return library.load(self.part)

    @classmethod
    def lower(cls, node: Any) -> list | None:
        """The outputs of this Op in place of a node's whose Op it lowers, None where it cannot."""
        return cls(node.op)(*node.inputs, return_list=True) if all_float32(node.inputs) else None


def lowers(*kinds: type, stage: str = "lower") -> Callable[[Target], Target]:
    """Declare that an Op, or a function of a node, takes the place of Ops of these classes.

    Parameters
    ----------
    *kinds : subclasses of theano.gof.Op
        Abstract ones, or Theano's own.
    stage : {"recognise", "lift", "lower", "passes", "product", "vectorize"}
        When: the table of `fastvae.backends.cpu.register` has the positions.

    Returns
    -------
    callable
        A decorator of a `CpuOp`, whose `lower(node)` is taken, or of such a function. It gives the new outputs, or None
        to leave the node as it is.
    """

    def declare(target):
        STAGES[stage](*kinds)(target.lower if isinstance(target, type) else target)
        return target

    return declare


def of_pattern(pattern: Callable[[Any], Any]) -> Callable[[Any], list | None]:
    """A function of a node, to be declared by `lowers`, that a spelled pattern of float32 (`recognises`) defines."""

    def rule(node):
        new = pattern(node)
        return None if new is None or new.dtype != "float32" else [new]

    return rule


def lowering(stage: str) -> Any:
    """The local rewrite of a stage."""
    declared = STAGES[stage]

    @local_optimizer(None)
    def local_lower(node):
        for rule in declared.rules(node.op):
            new = rule(node)
            if new is not None:
                return replaced(node, new)
        return False

    return local_lower


def replaced(node: Any, new: list) -> Any:
    """The new outputs with the old ones' types, or False where they cannot have them."""
    new = [tt.patternbroadcast(v, old.broadcastable) for v, old in zip(new, node.outputs)]
    if any(v.type != old.type for v, old in zip(new, node.outputs)):
        return False
    copy_stack_trace(node.outputs, new)
    return new
