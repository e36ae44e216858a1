"""The samplers: uniform, complete, without repeats within an epoch, and the same from a state on."""

from itertools import permutations

import numpy as np
import pytest
import scipy.stats
import theano
from theano.sandbox.rng_mrg import MRG_RandomStreams

from fastvae.errors import ConfigurationError
from fastvae.minibatch import samplers

HUGE = 40_000_000
row_at = samplers.ShuffledRow(name="row_at").impl


def draws(sampler, calls):
    draw = theano.function([], sampler.indices)
    return [draw() for _ in range(calls)]


def uniform_pvalue(values, bins):
    return scipy.stats.chisquare(np.bincount(values, minlength=bins)).pvalue


@pytest.mark.parametrize("n_rows", [1, 7, 1000, 1024])
def test_draws_are_uniform(n_rows):
    indices = np.concatenate(draws(samplers.replacement(n_rows, 20_000, seed=3), calls=5))
    assert indices.min() >= 0 and indices.max() < n_rows
    assert n_rows == 1 or uniform_pvalue(indices, n_rows) > 0.001


@pytest.mark.parametrize("make", [samplers.replacement, samplers.epochs])
def test_forty_million_rows_are_drawn_uniformly(make):
    indices = np.concatenate(draws(make(HUGE, 50_000, seed=3), calls=4))
    assert indices.dtype == np.int64 and indices.min() >= 0 and indices.max() < HUGE
    assert uniform_pvalue(indices * 64 // HUGE, 64) > 0.001
    assert uniform_pvalue(indices % 64, 64) > 0.001  # scaled float32 uniforms hit even rows only
    if make is samplers.epochs:
        assert len(np.unique(indices)) == len(indices)


def test_draws_are_the_integer_arithmetic_of_their_uniforms():
    indices = samplers.draw_indices(HUGE, 100, MRG_RandomStreams(5)).eval()
    uniforms = MRG_RandomStreams(5).uniform((2, 100), dtype="float32").eval()
    high, low = ([int(float(u) * 2**24) for u in row] for row in uniforms)
    assert indices.tolist() == [(a * 2**24 + b) % HUGE for a, b in zip(high, low)]


# The shuffle, against Python's integers and the definition of a permutation


def place_of(row, n_rows, key, number):
    """The inverse of the shuffle: its rounds from the last to the first, each of which undoes itself."""
    word = samplers._mixed(key ^ samplers._mixed(number))
    for back in range(samplers.ROUNDS):
        mixed = samplers._mixed(word + (samplers.ROUNDS - back) * samplers.GOLDEN)
        partner = (mixed % n_rows - row) % n_rows
        if samplers._mixed(mixed ^ max(row, partner)) & 1:
            row = partner
    return row


def test_every_one_of_forty_million_rows_has_its_place():
    rows = [0, 1, 2**24, 2**24 + 1, HUGE - 2, HUGE - 1, *np.random.default_rng(0).integers(HUGE, size=200).tolist()]
    places = [place_of(row, HUGE, key=11, number=3) for row in rows]
    assert all(0 <= place < HUGE for place in places)
    assert [row_at(place, HUGE, 11, 3) for place in places] == rows


@pytest.mark.parametrize("n_rows", [1, 2, 3, 10, 64, 97])
def test_the_shuffle_is_a_permutation(n_rows):
    for number in range(5):
        assert sorted(row_at(place, n_rows, 1, number) for place in range(n_rows)) == list(range(n_rows))


def test_all_permutations_are_equally_likely():
    sampler = samplers.epochs(4, 4, seed=5)
    draw = theano.function([], sampler.indices)
    numbers = {permutation: number for number, permutation in enumerate(permutations(range(4)))}
    assert uniform_pvalue([numbers[tuple(draw())] for _ in range(12_000)], 24) > 0.001


def test_neighbours_in_an_epoch_are_independent():
    rows = np.array(draws(samplers.epochs(1000, 1000, seed=6), calls=100))
    steps = (rows[:, 1:] - rows[:, :-1]) % 1000  # each of 1 to 999 equally likely
    assert uniform_pvalue(steps.ravel() - 1, 999) > 0.001
    moves = (rows[1:] - rows[:-1]) % 1000  # of one place, from an epoch to the next
    assert uniform_pvalue(moves.ravel(), 1000) > 0.001


def test_the_compiled_shuffle_is_that_of_pythons_integers():
    sampler = samplers.epochs(1000, 100, seed=None)
    key = int(sampler.state.get_value()[1])
    drawn = np.concatenate(draws(sampler, calls=30))
    assert drawn.tolist() == [row_at(place % 1000, 1000, key, place // 1000) for place in range(3000)]


@pytest.mark.parametrize("n_rows, batch_size", [(10, 4), (8, 4), (5, 1), (3, 3)])
@pytest.mark.parametrize("last", ["drop", "keep"])
def test_epochs_cover_each_row_once(n_rows, batch_size, last):
    sampler = samplers.epochs(n_rows, batch_size, 2, last)
    batches = draws(sampler, 3 * sampler.batches_per_epoch)
    rest = n_rows % batch_size
    for epoch in range(3):
        rows = batches[epoch * sampler.batches_per_epoch : (epoch + 1) * sampler.batches_per_epoch]
        sizes = [batch_size] * (n_rows // batch_size) + [rest] * (last == "keep" and rest > 0)
        assert [len(batch) for batch in rows] == sizes
        seen = np.concatenate(rows)
        assert len(set(seen)) == len(seen) == sum(sizes)
    assert sampler.varies is (last == "keep" and rest > 0)


def test_rows_left_out_change():
    batches = draws(samplers.epochs(10, 9, seed=2), calls=40)
    assert len({*range(10)} - {*np.concatenate(batches)}) == 0
    assert len({frozenset({*range(10)} - {*batch}) for batch in batches}) > 5


def test_one_smaller_batch_keeps_all_rows():
    (batch,) = draws(samplers.epochs(3, 8, 1, "keep"), calls=1)
    assert sorted(batch) == [0, 1, 2]
    with pytest.raises(ConfigurationError, match="batch_size=8 is more than the 3 rows"):
        samplers.epochs(3, 8, 1, "drop")


@pytest.mark.parametrize("make", [samplers.replacement, samplers.epochs])
def test_a_state_is_all_that_a_sampler_remembers(make):
    sampler, other = make(50, 8, seed=1), make(50, 8, seed=2)
    draw = theano.function([], sampler.indices)
    for _ in range(7):
        draw()
    other.state.set_value(sampler.state.get_value())
    assert np.array_equal(draws(other, calls=9), [draw() for _ in range(9)])


@pytest.mark.parametrize("make", [samplers.replacement, samplers.epochs])
def test_the_seed_repeats_the_rows(make):
    def rows(seed):
        return np.array(draws(make(1000, 8, seed), calls=3)).tolist()

    assert rows(1) == rows(1) != rows(2)
    assert rows(None) != rows(None)


def test_no_float64_in_the_graph():
    for sampler in (samplers.replacement(100, 8, 1), samplers.epochs(100, 8, 1, "keep")):
        variables = theano.function([], sampler.indices).maker.fgraph.variables
        assert "float64" not in {getattr(variable.type, "dtype", None) for variable in variables}


def test_the_shuffle_takes_integers_only():
    with pytest.raises(TypeError, match="four int64"):
        samplers.shuffled_row(np.int32(1), np.int64(2), np.int64(3), np.int64(4))
