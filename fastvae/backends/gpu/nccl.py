"""Ranks on NVIDIA's GPUs, one each: NCCL sums on the devices, launched and introduced to each other by MPI."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from typing import Any

from theano.gpuarray.type import get_context

from fastvae.devices import cuda_libraries, cuda_loading
from fastvae.errors import ConfigurationError, StackError
from fastvae.parallel import Ranks

_clique: Clique | None = None


def join(ranks: Ranks, device: str, cuda_path: str | None, cxx: str) -> None:
    """Open the clique of these ranks' GPUs (collective); a second call does nothing.

    Parameters
    ----------
    ranks : fastvae.parallel.Ranks
    device : str
        Theano's name of this rank's GPU.
    cuda_path : str or None
        Where to search for NCCL, as for `cuda_search.candidates`.
    cxx : str
        The C compiler.

    Raises
    ------
    ConfigurationError
        If a rank finds no NCCL, two ranks have one GPU, or NCCL does not start.
    """
    global _clique
    if _clique is not None:
        return
    context = get_context(None)
    findings = ranks.everyone(cuda_libraries.nccl(cuda_path))
    for rank, finding in enumerate(findings):
        if not finding.found:
            raise ConfigurationError(f"parallel: ranks on GPUs average by NCCL, which rank {rank} lacks: {finding}")
    _refuse_shared(ranks.everyone((platform.node(), context.unique_id, device)))
    _clique = Clique(ranks, context, cuda_loading.load_nccl(findings[ranks.rank].path, cxx))


def clique() -> Clique:
    """The one that `join` opened."""
    if _clique is None:
        raise ConfigurationError("parallel: the ranks' GPUs have not joined: train by fastvae.fit(parallel='mpi')")
    return _clique


def _refuse_shared(places: list[tuple[str, Any, str]]) -> None:
    for rank, (node, gpu, device) in enumerate(places):
        other = next(i for i, place in enumerate(places) if place[:2] == (node, gpu))
        if other < rank:
            raise ConfigurationError(
                f"parallel: ranks {other} and {rank} have one GPU, {device} of {node}, but NCCL wants one each: start "
                "no more ranks on a machine than it has GPUs, all with device=cuda, or take the profile cpu"
            )


class Clique:
    """The GPUs of all ranks, between which arrays are summed without the host.

    Parameters
    ----------
    ranks : fastvae.parallel.Ranks
    context : pygpu.gpuarray.GpuContext
        Of this rank's GPU.
    library : ctypes.CDLL
        NCCL.
    """

    def __init__(self, ranks: Ranks, context: Any, library: ctypes.CDLL) -> None:
        from pygpu.collectives import GpuComm, GpuCommCliqueId
        from pygpu.gpuarray import GpuArrayException

        self._library = library
        library.ncclGetErrorString.restype = ctypes.c_char_p
        try:
            name = ranks.on_first(lambda: bytes(GpuCommCliqueId(context).comm_id))
            self._comm = GpuComm(GpuCommCliqueId(context, bytearray(name)), ranks.size, ranks.rank)
        except GpuArrayException as error:
            line = " ".join(str(error).split())
            raise ConfigurationError(f"parallel: NCCL did not start ({line}): NCCL_DEBUG=INFO says more") from error

    def sum(self, arrays: Sequence[Any], out: Sequence[Any]) -> None:
        """Write the sum over the ranks of each array to `out`, which may be the arrays themselves (collective).

        All of them are one launch: NCCL joins what stands in one group.

        Parameters
        ----------
        arrays, out : list of pygpu.gpuarray.GpuArray
            Float32, in one piece, in the order of C.

        Raises
        ------
        ValueError
            For other ones, which NCCL would sum as if they were.
        StackError
            If NCCL fails.
        """
        for array in (*arrays, *out):
            if array.dtype != "float32" or not array.flags.c_contiguous:
                raise ValueError(
                    f"ranks sum float32 arrays in one piece on GPUs, not {array.dtype} of strides {array.strides}"
                )
        self._check(self._library.ncclGroupStart())
        try:
            for array, target in zip(arrays, out):
                self._comm.all_reduce(array, "sum", target)
        finally:
            status = self._library.ncclGroupEnd()
        self._check(status)

    def _check(self, status: int) -> None:
        if status:
            reason = self._library.ncclGetErrorString(status).decode()
            raise StackError(f"NCCL failed ({reason}): NCCL_DEBUG=INFO says more")
