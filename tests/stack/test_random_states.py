"""States of random streams by numpy are those of theano's compiled function."""

import numpy as np
import pytest
from theano.sandbox import rng_mrg
from theano.sandbox.rng_mrg import MRG_RandomStreams

from fastvae.stack import _random_states


def stock_states(seed, n):
    """n states 2**72 apart, in Python's integers of any size."""
    state, states = [int(word) for word in MRG_RandomStreams(seed).rstate], []
    for _ in range(n):
        states.append(state)
        state = [
            sum(int(a) * b for a, b in zip(row, half)) % int(modulus)
            for matrix, half, modulus in (
                (rng_mrg.A1p72, state[:3], rng_mrg.M1),
                (rng_mrg.A2p72, state[3:], rng_mrg.M2),
            )
            for row in matrix
        ]
    return states


@pytest.mark.parametrize("n", [1, 2, 3, 64, 100])
def test_the_states_are_a_fixed_distance_apart(n):
    streams = MRG_RandomStreams(7)
    states = streams.get_substream_rstates(n, "float32", inc_rstate=False)
    assert states.dtype == "int32" and states.shape == (n, 6)
    assert states.tolist() == stock_states(7, n)


def test_the_next_stream_is_where_theanos_python_puts_it():
    streams = MRG_RandomStreams(12345)
    before = np.array(streams.rstate)
    streams.get_substream_rstates(2, "float32")
    halves = (rng_mrg.A1p134, before[:3], rng_mrg.M1), (rng_mrg.A2p134, before[3:], rng_mrg.M2)
    expected = np.concatenate([rng_mrg.matVecModM(*half) for half in halves])
    assert streams.rstate.dtype == np.int32 and streams.rstate.tolist() == expected.tolist()


def test_the_largest_integers_do_not_overflow():
    largest, modulus = np.full((3, 3), 2**31 - 2, "int64"), 2**31 - 1
    rows = np.full((1, 3), 2**31 - 2, "int32")
    assert _random_states._product(rows, largest, modulus).tolist() == [[3] * 3]


def test_nothing_is_compiled_for_them():
    assert rng_mrg.multMatVect.dot_modulo is None
