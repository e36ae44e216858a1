"""Processes that are forked from one that computes, such as PyMC3's chains and a user's own `multiprocessing`.

A fork copies only the thread that forks. GNU OpenMP does not notice that: the child would wait for ever for the threads
of its pool. So the pool is given up before the fork, as OpenBLAS does with its own, and parent and child start a new
one when they need it. A child computes with one thread, because its siblings share the same cores; call
`fastvae.devices.threads.limit` in the child to give it more.
"""

from __future__ import annotations

import functools
import os

from fastvae.devices.threads import limit

HARD = 2  # omp_pause_hard


@functools.lru_cache(maxsize=None)
def survive() -> None:
    """Make sure that children forked from this process from now on can compute. A second call does nothing."""
    os.register_at_fork(before=give_up_pools, after_in_child=functools.partial(limit, 1))


def give_up_pools() -> None:
    """End the OpenMP threads of the calling thread; its next parallel loop starts new ones."""
    import threadpoolctl

    for library in threadpoolctl.ThreadpoolController().select(prefix="libgomp").lib_controllers:
        pause = getattr(library.dynlib, "omp_pause_resource_all", None)
        if pause is not None:  # absent from libraries older than GCC 9, which another package may bring
            pause(HARD)
