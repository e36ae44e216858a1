"""Streams of ranks are those of numpy's seed sequence, and of theano's own generator from there."""

import numpy as np
import theano
from theano.sandbox.rng_mrg import MRG_RandomStreams

from fastvae.parallel import streams


def test_states_are_those_of_a_generator_with_the_spawned_seed():
    state = MRG_RandomStreams(5).get_substream_rstates(4, "float32")
    words = np.random.SeedSequence([int(word) for word in state[0]], spawn_key=(3,)).generate_state(6)
    expected = MRG_RandomStreams([int(word) % 2_147_462_578 + 1 for word in words]).get_substream_rstates(4, "float32")
    np.testing.assert_array_equal(streams.spawned(state, 3), expected)


def test_a_numpy_generator_of_each_rank_draws_other_numbers():
    drawn = [streams.spawned(np.random.RandomState(1), rank).normal() for rank in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_only_streams_of_other_ranks_than_the_first_change():
    generator, weights = MRG_RandomStreams(5), theano.shared(np.ones(3, "float32"))
    generator.normal((3,), dtype="float32")
    ((state, *_),) = generator.state_updates
    before = state.get_value()
    streams.spawn([state, weights], 0)
    np.testing.assert_array_equal(state.get_value(), before)
    streams.spawn([state, weights], 2)
    np.testing.assert_array_equal(state.get_value(), streams.spawned(before, 2))
    np.testing.assert_array_equal(weights.get_value(), 1)
