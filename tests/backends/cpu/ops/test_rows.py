"""Rows by their numbers, and total sums, as one threaded pass."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.cpu.ops.rows import TakeRows
from fastvae.backends.cpu.ops.sums import Total


def kinds(function):
    return [type(node.op) for node in function.maker.fgraph.apply_nodes]


@pytest.fixture(scope="module")
def taking():
    x, numbers = tt.ftensor4("x"), tt.lvector("numbers")
    return theano.function([x, numbers], x[numbers])


@pytest.mark.parametrize("row", [(1, 28, 28), (3, 2, 1), (1, 1, 1)])
def test_rows_are_numpys(taking, row, rng):
    assert kinds(taking) == [TakeRows]
    x = rng.randn(50, *row).astype("float32")
    for numbers in (rng.randint(-50, 50, 64), np.arange(6)[::2], np.arange(0)):
        for data in (x, x[::2], x[..., ::-1], np.asfortranarray(x)):
            inside = numbers % len(data) - (numbers < 0) * len(data)
            np.testing.assert_array_equal(taking(data, inside), data[inside])


@pytest.mark.parametrize("number", [50, -51, 2**40])
def test_a_row_that_is_not_there_is_an_error(taking, number, rng):
    for data in (np.zeros((50, 1, 2, 2), "float32"), np.zeros((50, 1, 2, 4), "float32")[..., ::2]):
        with pytest.raises(IndexError, match=f"index {number} is out of bounds for axis 0 with size 50"):
            taking(data, np.array([0, number]))


def test_bytes_too_and_nothing_else(rng):
    for dtype, index, ours in (("uint8", "int64", 1), ("float64", "int64", 0), ("float32", "int32", 0)):
        x, numbers = tt.matrix("x", dtype), tt.vector("numbers", index)
        function = theano.function([x, numbers], x[numbers])
        assert kinds(function).count(TakeRows) == ours
        values = rng.randint(0, 255, (40, 3000)).astype(dtype)
        picks = rng.randint(-40, 40, 33).astype(index)
        np.testing.assert_array_equal(function(values, picks), values[picks])


def test_its_gradient_is_stocks(stock, rng, close):
    x, numbers = theano.shared(rng.randn(5, 3).astype("float32")), tt.constant(np.array([1, -1, 1]))
    gradient = theano.grad(tt.sum(x[numbers] ** 2), x)
    close(theano.function([], gradient)(), theano.function([], gradient, mode=stock)())


@pytest.mark.parametrize("shape", [(3, 5), (64, 784), (2, 3, 1, 300)])
def test_total(shape, rng, close):
    x = tt.TensorType("float32", [False] * len(shape))("x")
    function = theano.function([x], tt.sum(x))
    assert kinds(function) == [Total]
    value = rng.randn(*shape).astype("float32") + np.float32(1)
    for array in (value, value[..., ::-1], value.T.copy().T):
        close(function(array), np.float64(array.sum(dtype="float64")), 1e-6)


def test_partial_sums_and_vectors_stay_as_they_are():
    x = tt.fmatrix("x")
    assert Total not in kinds(theano.function([x], [tt.sum(x, 0), tt.sum(x[0]), tt.sum(x, dtype="float64")]))
