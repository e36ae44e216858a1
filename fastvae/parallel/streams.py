"""Random streams of each rank's own: all ranks build the same streams, and then make others of them.

Examples
--------
>>> states = np.array([[1, 2, 3, 4, 5, 6]], "int32")
>>> spawned(states, rank=1).shape, np.array_equal(spawned(states, rank=1), spawned(states, rank=2))
((1, 6), False)
"""

from __future__ import annotations

from typing import Any, Iterable

import numpy as np


def spawn(variables: Iterable[Any], rank: int) -> None:
    """Give the random streams among shared variables the states of a rank; the first one keeps what is there.

    Parameters
    ----------
    variables : iterable of theano.compile.SharedVariable
    rank : int
    """
    for variable in variables:
        if rank and getattr(variable.tag, "is_rng", False):
            variable.set_value(spawned(variable.get_value(), rank))


def spawned(state: Any, rank: int) -> Any:
    """The state of a rank's stream: seeded by the words of a state, with ``spawn_key=(rank,)``.

    Parameters
    ----------
    state : numpy.ndarray or numpy.random.RandomState
        Of theano's MRG streams, int32 (n, 6), or of a numpy generator.
    rank : int
    """
    if isinstance(state, np.random.RandomState):
        words = [int(word) for word in state.get_state()[1][:6]]
        return np.random.RandomState(np.random.SeedSequence(words, spawn_key=(rank,)).generate_state(6))
    from theano.sandbox.rng_mrg import MRG_RandomStreams

    words = np.random.SeedSequence([int(word) for word in state.flat[:6]], spawn_key=(rank,)).generate_state(6)
    seeds = [int(word) % 2_147_462_578 + 1 for word in words]  # what both moduli of MRG31k3p admit
    return MRG_RandomStreams(seeds).get_substream_rstates(len(state), "float32")
