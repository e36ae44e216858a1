"""The mean over ranks on their GPUs: within a step NCCL sums there, and what follows takes the ranks' share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import theano.tensor as tt
from theano import scalar
from theano.gof import Apply
from theano.gpuarray.basic_ops import as_gpuarray_variable, gpu_contiguous, infer_context_name
from theano.gpuarray.elemwise import GpuElemwise
from theano.gpuarray.opt import gpu_optimizer, op_lifter, register_opt, register_opt2

from fastvae.backends.gpu import nccl
from fastvae.backends.gpu.op import typed
from fastvae.errors import ConfigurationError
from fastvae.parallel import Ranks
from fastvae.parallel.averaging import AverageOverRanks


class SumOverRanks(AverageOverRanks):
    """The sum over the ranks of each input, float32 and in one piece, on their GPUs."""

    def make_node(self, *inputs: Any) -> Apply:
        context = infer_context_name(*inputs)
        inputs = tuple(gpu_contiguous(as_gpuarray_variable(v, context)) for v in inputs)
        return Apply(self, inputs, [each.type() for each in inputs])

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Sequence[list]) -> None:
        for i, (value, output) in enumerate(zip(inputs, outputs)):
            if i in self.in_place:
                output[0] = value
            elif output[0] is None or output[0].shape != value.shape or not output[0].flags.c_contiguous:
                output[0] = value._empty_like_me()
        nccl.clique().sum(inputs, [output[0] for output in outputs])


def lifted(op: AverageOverRanks, context_name: str | None, inputs: list, outputs: list) -> list | bool:
    """A mean over ranks -> their share of the sum; the form that Theano's lifters have."""
    if any(v.dtype != "float32" for v in inputs):
        return False  # `stepping` says so
    sums = SumOverRanks(op.ranks)(*(as_gpuarray_variable(v, context_name) for v in inputs), return_list=True)
    return typed([_times(each, 1 / op.ranks.size, context_name) for each in sums], outputs)


def _times(variable: Any, factor: float, context_name: str | None) -> Any:
    number = tt.constant(np.full((1,) * variable.ndim, factor, "float32"))
    return GpuElemwise(scalar.mul)(variable, as_gpuarray_variable(number, context_name))


def register() -> None:
    """Put the rewrite into Theano's optdb, once a process."""
    if "fastvae_gpu_average_lift" in gpu_optimizer.__db__:
        return
    register_opt2([AverageOverRanks], "fast_compile", "fastvae_gpu", name="fastvae_gpu_average_move")(lifted)
    lift = op_lifter([AverageOverRanks])(lifted)
    register_opt("fast_compile", "fastvae_gpu", name="fastvae_gpu_average_lift")(lift)


def stepping(step: Any, ranks: Ranks) -> Callable[[], Any]:
    """A compiled step of ranks: before each the hosts tell each other by MPI whether it is to be the last one.

    Raises
    ------
    ConfigurationError
        If the step averages on the host.
    """
    for node in step.maker.fgraph.toposort():
        if type(node.op) is AverageOverRanks:
            others = sorted({v.dtype for v in node.inputs} - {"float32"})
            what = f"{' and '.join(others)}" if others else "what the host computes"
            raise ConfigurationError(
                f"parallel: ranks on GPUs average float32 alone, on the GPUs, and this step averages {what}: cast "
                "parameters and data to float32, or take the profile cpu"
            )

    def together() -> Any:
        ranks.stopping = ranks.any(ranks.wish)
        return step()

    return together
