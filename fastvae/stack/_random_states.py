"""The states of random streams by numpy, where theano compiles a function for them.

A stream's generator is MRG31k3p (P. L'Ecuyer and R. Touzin, Fast combined multiple recursive generators with
multipliers of the form a = ±2^q ±2^r, WSC 2000): two triples of integers, each multiplied by a matrix modulo a prime.
To jump ahead, the matrix is a power of that. Theano's states are these, to the last bit.
"""

from __future__ import annotations

import numpy as np
from theano.sandbox import rng_mrg

Halves = tuple[tuple[np.ndarray, int], ...]  # matrix and modulus of each triple


def install() -> None:
    """Replace the functions of theano that compile one."""
    rng_mrg.multMatVect = multMatVect
    rng_mrg.MRG_RandomStreams.get_substream_rstates = get_substream_rstates


def multMatVect(v: np.ndarray, A: np.ndarray, m1: int, B: np.ndarray, m2: int) -> np.ndarray:
    """As theano's: A times the first half of v modulo m1, and B times the second half modulo m2."""
    return _jumped(np.asarray(v)[None], ((A, m1), (B, m2)))[0]


multMatVect.dot_modulo = None  # type: ignore[attr-defined]  # theano's compiled function is there


def get_substream_rstates(self, n_streams: int, dtype: str, inc_rstate: bool = True) -> np.ndarray:
    """As theano's: states, int32 (n_streams, 6), that are 2**72 numbers apart."""
    states = np.empty((n_streams, 6), "int32")
    states[0] = self.rstate
    jump: Halves = (rng_mrg.A1p72, int(rng_mrg.M1)), (rng_mrg.A2p72, int(rng_mrg.M2))
    known = 1
    while known < n_streams:  # twice as many, by a jump over those that are known
        new = states[known : 2 * known]
        new[:] = _jumped(states[: len(new)], jump)
        jump = tuple((_product(matrix, matrix.T, modulus), modulus) for matrix, modulus in jump)
        known *= 2
    if inc_rstate:
        self.inc_rstate()
    return states


def _jumped(states, halves):
    return np.hstack(
        [_product(states[:, 3 * i : 3 * i + 3], matrix, modulus) for i, (matrix, modulus) in enumerate(halves)]
    ).astype("int32")


def _product(rows, matrix, modulus):
    """Each row's product with a matrix of integers below 2**31, without overflow: (rows @ matrix.T) % modulus."""
    terms = np.asarray(rows, "int64")[:, None, :] * np.asarray(matrix, "int64") % modulus
    return terms.sum(axis=-1) % modulus
