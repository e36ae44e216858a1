"""Processes that are forked from one that computes: PyMC3's chains, a user's own `multiprocessing`.

A fork copies the thread that forks and no other. GNU OpenMP does not notice: the child would wait for ever for the
threads of its pool. So the pool is given up before the fork, as OpenBLAS does with its own, and parent and child
start one anew when they need it. A child computes with one thread, because its siblings share the same cores;
`fastvae.devices.threads.limit`, called in the child, gives it more.
"""

import functools
import os

from fastvae.devices.threads import limit

HARD = 2  # omp_pause_hard


@functools.lru_cache(maxsize=None)
def survive():
    """Make every fork of this process from now on one whose child can compute. A second call does nothing."""
    os.register_at_fork(before=give_up_pools, after_in_child=functools.partial(limit, 1))


def give_up_pools():
    """End the OpenMP threads of the calling thread; its next parallel loop starts new ones."""
    import threadpoolctl

    for library in threadpoolctl.ThreadpoolController().select(prefix="libgomp").lib_controllers:
        pause = getattr(library.dynlib, "omp_pause_resource_all", None)
        if pause is not None:  # another package may bring a library older than GCC 9's
            pause(HARD)
