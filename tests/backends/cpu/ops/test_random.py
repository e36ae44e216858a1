"""Random numbers in vector code: bit for bit those of Theano's generator, and what a binarised pixel's chance is."""

import numpy as np
import pytest
import theano
from theano.sandbox.rng_mrg import MRG_RandomStreams

from fastvae.backends.cpu.ops.random import Uniform
from tests.backends.cpu.ops.running import compiled

NORM = np.float32(4.6566126e-10)  # of an integer from 1 to 2**31 - 1


def drawing(size, **options):
    """A function that draws uniforms, and the shared variable of its states."""
    rng = MRG_RandomStreams(11)
    function = theano.function([], rng.uniform(size, dtype="float32"), **options)
    return function, rng.state_updates[0][0]


@pytest.mark.parametrize("size", [(3,), (64, 2), (7, 11, 13), (64, 784), (1000, 100)])
def test_numbers_and_states_are_those_of_theano(size, stock):
    (ours, our_states), (theirs, their_states) = drawing(size), drawing(size, mode=stock)
    (op,) = [node.op for node in ours.maker.fgraph.apply_nodes if isinstance(node.op, Uniform)]
    assert op.inplace
    for _ in range(3):
        np.testing.assert_array_equal(ours(), theirs())
    np.testing.assert_array_equal(our_states.get_value(), their_states.get_value())


def test_states_that_are_not_to_be_overwritten_or_lie_otherwise():
    states = MRG_RandomStreams(5).get_substream_rstates(70, "float32")
    shape = np.array([3, 50])
    after, numbers = compiled(Uniform((False, False)), states, shape)
    for other in (np.asfortranarray(states), np.repeat(states, 2, axis=0)[::2]):
        kept = other.copy()
        for value, expected in zip(compiled(Uniform((False, False)), other, shape), (after, numbers)):
            np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(other, kept)
    _, none = compiled(Uniform((False, False)), states, np.array([0, 5]))
    assert none.shape == (0, 5)


@pytest.mark.parametrize(
    "columns, shape, message",
    [(5, [2, 2], r"needs states \(streams, 6\)"), (6, [2, 2, 2], "2 lengths"), (6, [2, -1], "axis 1 is negative")],
)
def test_what_cannot_be_is_an_error(columns, shape, message):
    with pytest.raises(ValueError, match=message):
        compiled(Uniform((False, False)), np.ones((4, columns), "int32"), np.array(shape))


def test_a_binarised_level_is_1_with_probability_level_over_255():
    """Of the generator's 2**31 - 1 equally likely integers, those below a level's probability, counted exactly."""
    for level in range(256):
        probability = np.float32(level) * np.float32(1 / 255)
        low, high = 0, 2**31 - 1  # the first integer that is not below lies in (low, high + 1]
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if np.float32(middle) * NORM < probability else (low, middle - 1)
        assert abs(low / (2**31 - 1) - level / 255) <= 2**-23
