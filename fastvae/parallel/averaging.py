"""The Op that averages loss and gradients over the ranks, between `tt.grad` and what the optimizer makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from theano.compile import optdb
from theano.gof import Apply, Op, Optimizer
from theano.gof.toolbox import ReplaceValidate

from fastvae.parallel.ranks import Ranks

POSITION = 75.2  # behind what overwrites operands within a step


class AverageOverRanks(Op):
    """The mean over the ranks of each input, in one Op, so that all ranks exchange them in the same order.

    Parameters
    ----------
    ranks : Ranks
    in_place : tuple of int
        The inputs whose memory gets the result.

    Notes
    -----
    Theano may evaluate two nodes of a graph in another order in each process, and ranks that wait for each other in
    different messages wait for ever: a step has one such node.
    """

    def __init__(self, ranks: Ranks, in_place: tuple[int, ...] = ()) -> None:
        self.ranks, self.in_place = ranks, in_place
        self.destroy_map = {i: [i] for i in in_place}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (other.ranks, other.in_place) == (self.ranks, self.in_place)

    def __hash__(self) -> int:
        return hash((type(self), self.in_place))

    def __str__(self) -> str:
        return f"{type(self).__name__}{{{self.ranks.size}}}"

    def make_node(self, *inputs: Any) -> Apply:
        inputs = tuple(map(tt.as_tensor_variable, inputs))
        return Apply(self, inputs, [each.type() for each in inputs])

    def do_constant_folding(self, node: Apply) -> bool:
        return False

    def perform(self, node: Apply, inputs: Sequence[np.ndarray], outputs: Sequence[list]) -> None:
        values = [np.asarray(value) for value in inputs]
        for i, (value, output) in enumerate(zip(values, outputs)):
            if i in self.in_place:
                output[0] = value
            elif not _fits(output[0], value):
                output[0] = np.empty(value.shape, value.dtype)
        self.ranks.average(values, [output[0] for output in outputs])

    def infer_shape(self, node: Apply, shapes: list) -> list:
        return shapes


def _fits(storage: Any, value: np.ndarray) -> bool:
    """Whether the memory of the last call can be used again."""
    same = isinstance(storage, np.ndarray) and (storage.shape, storage.dtype) == (value.shape, value.dtype)
    return same and storage.flags.c_contiguous and storage.flags.writeable and not np.shares_memory(storage, value)


class _InPlace(Optimizer):
    """Each `AverageOverRanks` overwrites the inputs that nobody else needs."""

    def add_requirements(self, fgraph: Any) -> None:
        fgraph.attach_feature(ReplaceValidate())

    def apply(self, fgraph: Any) -> None:
        for node in fgraph.toposort():
            if isinstance(node.op, AverageOverRanks) and not node.op.in_place:
                self._overwrite(fgraph, node)

    def _overwrite(self, fgraph: Any, node: Apply) -> None:
        everything = tuple(range(len(node.inputs)))
        if self._replaced(fgraph, node, everything) is not None:
            return
        for i in everything:
            node = self._replaced(fgraph, node, (*node.op.in_place, i)) or node

    def _replaced(self, fgraph: Any, node: Apply, in_place: tuple[int, ...]) -> Apply | None:
        new = type(node.op)(node.op.ranks, in_place)(*node.inputs, return_list=True)
        try:
            fgraph.replace_all_validate(list(zip(node.outputs, new)), reason="fastvae_average_in_place")
        except theano.gof.InconsistencyError:
            return None
        return new[0].owner


def average(ranks: Ranks, expressions: Sequence[theano.Variable]) -> list[theano.Variable]:
    """The means of expressions over the ranks; with one rank the expressions themselves.

    Parameters
    ----------
    ranks : Ranks
    expressions : list of theano variables

    Returns
    -------
    list of theano variables
    """
    if ranks.size == 1:
        return list(expressions)
    if "fastvae_average" not in optdb.__db__:
        optdb.register("fastvae_average", _InPlace(), POSITION, "fast_run", "inplace")
    return AverageOverRanks(ranks)(*expressions, return_list=True)
