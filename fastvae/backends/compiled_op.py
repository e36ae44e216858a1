"""What the Ops of all backends have in common: they run in a compiled module, some of them in place.

    CompiledOp        an Op that names its C kind and its constants
    local_inplace     the rewrite that lets such Ops overwrite inputs that nobody needs any more
    Lowerings         which rule of a backend takes the place of which Op, as each rule's file declares
    all_float32       what most of them ask of their inputs
    import_modules    import every module of a package, so that a new file needs no entry in a list

Theano generates and compiles no C for a `CompiledOp`. Its `perform`, which Theano's Python modes use, is numpy.
"""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from theano.gof import Op, local_optimizer
from theano.gof.opt import copy_stack_trace

from fastvae.backends import c_module

Target = TypeVar("Target")


class CompiledOp(Op):
    """An Op of a backend's compiled module.

    A subclass says `module()`, the compiled module, and `settings(node)`, its constants there. `overwrites` maps
    outputs to the inputs that its variant in place overwrites; the props of such an Op include ``"inplace"``.
    """

    overwrites: dict[int, int] = {}
    inplace = False

    @property
    def kind(self) -> str:
        """Its name in the compiled module."""
        return type(self).__name__

    def module(self) -> ModuleType:
        raise NotImplementedError

    def settings(self, node) -> tuple[float, ...]:
        return ()

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        if impl == "py":
            return super().make_thunk(node, storage_map, compute_map, no_recycling, impl)
        return c_module.thunk(self.module(), self.kind, self.settings(node), node, storage_map, compute_map)

    def in_place(self):
        """The variant that overwrites inputs, or None for an Op that is it or has none."""
        if self.inplace or not self.overwrites:
            return None
        variant = copy.copy(self)
        variant.inplace = True
        variant.destroy_map = {output: [source] for output, source in self.overwrites.items()}
        return variant


@local_optimizer(None, inplace=True)
def local_inplace(node):
    """A compiled Op -> its variant in place; Theano takes it back where somebody still needs the input."""
    op = node.op.in_place() if isinstance(node.op, CompiledOp) else None
    if op is None:
        return False
    new = op(*node.inputs, return_list=True)
    copy_stack_trace(node.outputs, new)
    return new


class Lowerings:
    """Which rule of a backend takes the place of which Op.

    Examples
    --------
    >>> lowers = Lowerings()
    >>> @lowers(int)
    ... def double(value):
    ...     return 2 * value
    >>> [rule(3) for rule in lowers.rules(3)], list(lowers.rules("3"))
    ([6], [])
    """

    def __init__(self) -> None:
        self._declared: list[tuple[tuple[type, ...], Any]] = []

    def __call__(self, *kinds: type) -> Callable[[Target], Target]:
        """Decorate what takes the place of Ops of these classes."""

        def declare(target: Target) -> Target:
            self._declared.append((kinds, target))
            return target

        return declare

    def rules(self, op: object):
        """Everything that was declared for an Op."""
        return (target for kinds, target in self._declared if isinstance(op, kinds))


def all_float32(variables: Iterable) -> bool:
    """Whether all of these variables are float32."""
    return all(v.dtype == "float32" for v in variables)


def import_modules(package: ModuleType | str) -> None:
    """Import every module of a package."""
    module = importlib.import_module(package) if isinstance(package, str) else package
    for found in pkgutil.iter_modules(module.__path__, f"{module.__name__}."):
        importlib.import_module(found.name)
