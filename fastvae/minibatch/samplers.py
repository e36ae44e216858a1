"""Samplers: which rows the next minibatch takes, as a Theano expression that draws new ones at each evaluation.

    replacement   every row with equal probability at every draw, independent of earlier draws
    epochs        all rows in a random order, each once, then all of them again in another order

A resident pipeline puts the expression into the training step, and a streamed one compiles it for its reader, so that
both draw the same rows from the same seed. A sampler's whole state is one shared variable, which evaluating it updates.

Examples
--------
>>> import theano
>>> sampler = epochs(n_rows=6, batch_size=3, seed=1)
>>> draw = theano.function([], sampler.indices)
>>> sorted(draw().tolist() + draw().tolist()), sampler.batches_per_epoch
([0, 1, 2, 3, 4, 5], 2)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import theano
import theano.tensor as tt
from theano import scalar
from theano.sandbox.rng_mrg import MRG_RandomStreams
from theano.tensor.elemwise import Elemwise

from fastvae.errors import ConfigurationError
from fastvae.nn.collect import not_trainable
from fastvae.parallel import streams

BITS = 24  # random bits in a float32 uniform in [0, 1)
ROUNDS = 48  # of the shuffle
GOLDEN = 0x9E3779B97F4A7C15
WORD = 2**64 - 1


class Sampler(NamedTuple):
    """An endless stream of row numbers.

    Attributes
    ----------
    name : str
    indices : theano.tensor.TensorVariable
        The row numbers of a minibatch, int64 (batch,).
    state : theano.compile.SharedVariable
        The whole state; evaluating the indices updates it.
    batches_per_epoch : int or None
        None if there are no epochs.
    varies : bool
        Whether some minibatch is smaller than the others.
    """

    name: str
    indices: tt.TensorVariable
    state: theano.compile.SharedVariable
    batches_per_epoch: int | None = None
    varies: bool = False


def replacement(n_rows: int, batch_size: int, seed: int | None) -> Sampler:
    """The sampler that draws every row independently of the others (see `draw_indices`).

    Parameters
    ----------
    n_rows, batch_size : int
    seed : int or None
        None is fresh entropy.

    Returns
    -------
    Sampler
    """
    rng = random_streams(seed)
    indices = draw_indices(n_rows, batch_size, rng)
    return Sampler("replacement", indices, rng.state_updates[0][0])


def draw_indices(n_rows: int, batch_size: int, rng: MRG_RandomStreams) -> tt.TensorVariable:
    """`batch_size` row numbers below `n_rows`, uniform with replacement, as an int64 vector expression.

    A float32 uniform has 24 random bits, so one of them, scaled, could reach only 2**24 rows. Two of them make an
    integer of 48 bits; its remainder modulo `n_rows` favours no row by more than n_rows / 2**48.

    Parameters
    ----------
    n_rows : int
        At most 2**40; above that the remainder would be noticeably uneven.
    batch_size : int
    rng : theano.sandbox.rng_mrg.MRG_RandomStreams

    Examples
    --------
    >>> draw_indices(40_000_000, 3, MRG_RandomStreams(1)).eval().dtype
    dtype('int64')
    """
    uniform = rng.uniform(size=(2, batch_size), dtype="float32")
    high, low = (tt.cast(uniform[row] * np.float32(2**BITS), "int64") for row in (0, 1))
    indices = (high * 2**BITS + low) % n_rows
    return tt.unbroadcast(indices, 0)


def epochs(n_rows: int, batch_size: int, seed: int | None, last: str = "drop") -> Sampler:
    """The sampler that visits every row once in each epoch, in a new random order each time (see `ShuffledRow`).

    Parameters
    ----------
    n_rows, batch_size : int
    seed : int or None
        None is fresh entropy.
    last : {"drop", "keep"}
        Whether an epoch leaves out the rows that do not fill a batch (other rows each time) or ends with a smaller one.

    Returns
    -------
    Sampler
        Its state is int64 (2,): the number of batches drawn so far, and the key of the shuffles.

    Raises
    ------
    ConfigurationError
        If no batch is full and `last` is "drop".
    """
    if batch_size > n_rows and last == "drop":
        raise ConfigurationError(
            f"Minibatch: batch_size={batch_size} is more than the {n_rows} rows, so no batch of an epoch is full: take "
            'a smaller one, or last="keep"'
        )
    batches_per_epoch = n_rows // batch_size if last == "drop" else -(-n_rows // batch_size)
    key = np.random.SeedSequence(seed).generate_state(1, np.uint64).view(np.int64)[0]
    varies = last == "keep" and n_rows % batch_size > 0
    # The name was given when samplers were called orders; it stays, since checkpoints find the state by it.
    name = "minibatch.order"
    if varies:  # shapes depend on it, and a GPU would have to be asked for it in every step: it stays on the host
        state = theano.shared(np.array([0, key]), name=name, target="cpu")
        state.tag.target = "cpu"
    else:
        state = theano.shared(np.array([0, key]), name=name)
    not_trainable(state)
    state.default_update = state + np.array([1, 0])
    epoch, batch = state[0] // batches_per_epoch, state[0] % batches_per_epoch
    first = batch * batch_size
    places = tt.unbroadcast(first + np.arange(batch_size), 0)
    if last == "keep":
        places = places[: tt.minimum(batch_size, n_rows - first)]
    indices = shuffled_row(places, np.int64(n_rows), state[1], epoch)
    return Sampler(f"epochs, {last}", indices, state, batches_per_epoch, varies)


def share(sampler: Sampler, rank: int, size: int) -> None:
    """Let a sampler skip what other ranks take, before it is compiled; `started` says where a rank begins.

    Of the minibatches of an epoch, ranks take the first `size`, then the next ones, and leave out those at its end that
    are not enough for all. What is drawn with replacement stays as it is.

    Parameters
    ----------
    sampler : Sampler
    rank : int
        This rank.
    size : int
        Ranks in all.
    """
    length = sampler.batches_per_epoch
    if length is None:
        return
    place = sampler.state[0] % length
    taken = tt.switch(place - rank + 2 * size <= length, size, length - place + rank)
    sampler.state.default_update = sampler.state + np.array([1, 0]) * taken


def started(sampler: Sampler, state: np.ndarray, rank: int, size: int) -> np.ndarray:
    """The state with which a rank begins, of that of the first one, or of a process alone.

    Examples
    --------
    >>> sampler = epochs(n_rows=60, batch_size=10, seed=1)
    >>> [started(sampler, np.array([4, 9]), rank, size=3).tolist() for rank in range(3)]
    [[6, 9], [7, 9], [8, 9]]
    """
    length = sampler.batches_per_epoch
    if length is None:
        return streams.spawned(state, rank) if rank else state
    epoch, place = divmod(int(state[0]), length)
    first = epoch * length + place if place + size <= length else (epoch + 1) * length
    return np.array([first + rank, state[1]])


class ShuffledRow(scalar.ScalarOp):
    """The row at a place of a shuffle: a pseudo-random permutation of n_rows, computed one element at a time.

    This is the swap-or-not shuffle [1]_. Each round has a number k and pairs the rows x and (k - x) mod n; a bit that
    depends only on the pair and the round decides whether to swap them. Every round is a permutation, and therefore the
    whole is. It needs no memory and no work between epochs, and can continue at any place. k and the bits come from the
    finaliser of SplitMix64 [2]_.

    The inputs are int64: the place, the number of rows, the key of all shuffles, and the number of this shuffle.

    References
    ----------
    .. [1] V. T. Hoang, B. Morris, P. Rogaway: An Enciphering Scheme Based on a Card Shuffle, CRYPTO 2012.
    .. [2] G. L. Steele, D. Lea, C. H. Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.

    Examples
    --------
    >>> [ShuffledRow.impl(None, place, 5, 1, 0) for place in range(5)]
    [1, 0, 2, 3, 4]
    """

    nin = 4

    def output_types(self, types: list[Any]) -> list[Any]:
        if [kind.dtype for kind in types] != ["int64"] * 4:
            raise TypeError(f"ShuffledRow takes four int64, not {types}")
        return [scalar.int64]

    def impl(self, place: int, n_rows: int, key: int, number: int) -> int:
        row, n_rows = int(place), int(n_rows)
        word = _mixed(int(key) ^ _mixed(int(number)))
        for _ in range(ROUNDS):
            word = (word + GOLDEN) & WORD
            mixed = _mixed(word)
            partner = (mixed % n_rows - row) % n_rows
            if _mixed(mixed ^ max(row, partner)) & 1:
                row = partner
        return row

    def c_code(self, node: Any, name: str, inputs: list[str], outputs: list[str], sub: dict[str, str]) -> str:
        place, n_rows, key, number = inputs
        # Without any percent sign, because theano formats the code of fused operations a second time.
        mix = "{0} ^= {0} >> 30; {0} *= 0xBF58476D1CE4E5B9ULL; {0} ^= {0} >> 27; {0} *= 0x94D049BB133111EBULL; "
        mix += "{0} ^= {0} >> 31;"
        return f"""{{
            const unsigned long long n = {n_rows};
            unsigned long long row = {place}, word = {number};
            {mix.format("word")}
            word ^= (unsigned long long) {key};
            {mix.format("word")}
            for (int round = 0; round < {ROUNDS}; ++round) {{
                word += {GOLDEN}ULL;
                unsigned long long bit = word;
                {mix.format("bit")}
                const unsigned long long k = bit - bit / n * n;
                const unsigned long long partner = k >= row ? k - row : k + n - row;
                bit ^= row > partner ? row : partner;
                {mix.format("bit")}
                row = bit & 1 ? partner : row;
            }}
            {outputs[0]} = (long long) row;
        }}"""

    def c_code_cache_version(self) -> tuple[int, ...]:
        return (1,)


shuffled_row = Elemwise(ShuffledRow(name="shuffled_row"))


def _mixed(word: int) -> int:
    """The finaliser of SplitMix64, for Python integers."""
    word &= WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


def random_streams(seed: int | None, *use: int) -> MRG_RandomStreams:
    """MRG streams from a seed, different ones for each use.

    Their own seeds are six words of numpy's SeedSequence, reduced to what both moduli of MRG31k3p admit.
    """
    words = np.random.SeedSequence(seed, spawn_key=use).generate_state(6)
    return MRG_RandomStreams([int(word) % 2_147_462_578 + 1 for word in words])
