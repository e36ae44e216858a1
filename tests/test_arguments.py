import numpy as np
import pytest

from fastvae.arguments import generator, integer, pair, resolve_padding, shape_of_images
from fastvae.errors import ConfigurationError


def test_integer_takes_numpy_integers_and_returns_int():
    assert type(integer("A", "n", np.int32(3))) is int
    assert integer("A", "n", 0, minimum=0) == 0


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", None, True, np.bool_(True), (1,)])
def test_integer_refuses(value):
    with pytest.raises(ConfigurationError, match=r"A: n=.* must be an integer of at least 1"):
        integer("A", "n", value)


def test_pair():
    assert pair("A", "stride", 2) == (2, 2)
    assert pair("A", "stride", [1, np.int64(2)]) == (1, 2)
    for wrong in ((1, 2, 3), (), (0, 1), (1, 2.5), "12"):
        with pytest.raises(ConfigurationError, match="A: stride="):
            pair("A", "stride", wrong)


@pytest.mark.parametrize(
    "padding, expected", [("valid", (0, 0)), ("same", (1, 2)), (2, (2, 2)), (0, (0, 0)), ((0, 4), (0, 4))]
)
def test_resolve_padding(padding, expected):
    assert resolve_padding("A", padding, (3, 5)) == expected


def test_resolve_padding_refuses():
    with pytest.raises(ConfigurationError, match="A: padding='half' must be one of"):
        resolve_padding("A", "half", (3, 3))
    with pytest.raises(ConfigurationError, match='padding="same" needs an odd kernel, got 3x2'):
        resolve_padding("A", "same", (3, 2))
    with pytest.raises(ConfigurationError, match="padding=1 must be smaller than the kernel 1x1"):
        resolve_padding("A", 1, (1, 1))
    with pytest.raises(ConfigurationError, match="at least 0"):
        resolve_padding("A", -1, (3, 3))


def test_shape_of_images():
    assert shape_of_images("A", "shape", [3, 4, 5]) == (3, 4, 5)
    for wrong in ((28, 28), 28, (1, 0, 28), (1, 28.0, 28), "abc"):
        with pytest.raises(ConfigurationError, match="A: shape="):
            shape_of_images("A", "shape", wrong)


def test_generator():
    rng = np.random.default_rng(0)
    assert generator("A", rng) is rng
    assert generator("A", 5).random() == np.random.default_rng(5).random()
    assert generator("A", None).random() != generator("A", None).random()
    for wrong in (-1, 1.5, "seed", True):
        with pytest.raises(ConfigurationError, match="A: seed="):
            generator("A", wrong)
