"""Threaded element-wise passes: same values as Theano's own, whatever lies in memory how."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.cpu.vectorize import VectorElemwise


def vectorized(function):
    return [node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, VectorElemwise)]


@pytest.fixture(scope="module")
def scaled():
    """A pass with a scalar of the graph, and what it is; it may overwrite its second argument."""
    x, y, scale = tt.fmatrix("x"), tt.fmatrix("y"), tt.fscalar("scale")
    function = theano.function([x, theano.In(y, mutable=True), scale], (x - y) / scale * y * (np.float32(1) - y))
    return function, lambda x, y, scale: (x - y) / scale * y * (1 - y)


def test_values_contiguous_strided_and_in_place(scaled, rng, close):
    function, expected = scaled
    (node,) = vectorized(function)
    assert node.op.inplace_pattern == {0: node.inputs.index(function.maker.fgraph.inputs[1])}
    a, b = (rng.randn(7, 12).astype("float32") for _ in range(2))
    for left, right in ((a, b), (a[:, ::2], b[:, ::2]), (a.T, b.T), (a.T, b.reshape(12, 7)), (a[::-1], b[:, ::-1])):
        close(function(left, right.copy("K"), np.float32(3)), expected(left, right, 3))
    assert function(a[:0], b[:0].copy(), np.float32(3)).shape == (0, 12)
    with pytest.raises(ValueError, match="mis-match"):
        function(a, b[:5].copy(), np.float32(3))


@pytest.fixture(scope="module")
def broadcast():
    """A pass whose operands are broadcast along every axis, and what it is."""
    x, row, column, plane = tt.ftensor3("x"), tt.frow("row"), tt.fcol("column"), tt.tensor3("plane", "float32")
    plane = tt.TensorType("float32", (True, False, False))("plane")
    result = tt.exp(x * row.dimshuffle("x", 0, 1)) + tt.tanh(column.dimshuffle(0, "x", 1)) * plane
    function = theano.function([x, row, column, plane], result)
    assert len(vectorized(function)) == len(function.maker.fgraph.apply_nodes) - 2  # besides two DimShuffles
    return function, lambda x, row, column, plane: np.exp(x * row) + np.tanh(column[:, None]) * plane


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (3, 1, 1), (1, 1, 1), (2, 0, 3), (40, 30, 50)])
def test_values_of_broadcast_operands(broadcast, rng, close, shape):
    function, expected = broadcast
    images, rows, columns = shape
    operands = [shape, (1, columns), (images, 1), (1, rows, columns)]
    x, row, column, plane = (rng.randn(*s).astype("float32") for s in operands)
    for transposed in (x, np.asfortranarray(x), x.transpose(2, 1, 0).copy().transpose(2, 1, 0), x[:, ::-1]):
        close(function(transposed, row, column, plane), expected(transposed, row, column, plane))


def test_many_elements_are_those_of_their_parts(scaled, rng):
    function, _ = scaled
    a, b = (rng.randn(300, 401).astype("float32") for _ in range(2))  # enough for every thread
    whole = function(a, b.copy(), np.float32(3))
    parts = [function(a[i : i + 7], b[i : i + 7].copy(), np.float32(3)) for i in range(0, 300, 7)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_what_gains_nothing_stays():
    x, row, double, scalar = tt.fmatrix("x"), tt.frow("row"), tt.dvector("double"), tt.fscalar("scalar")
    rewritten = theano.Mode(linker="py", optimizer="fast_run")  # compiles nothing
    for result in (x * row + x * x, tt.sin(x) + row, tt.exp(double), tt.exp(scalar)):
        function = theano.function([x, row, double, scalar], result, mode=rewritten, on_unused_input="ignore")
        assert not vectorized(function)
    assert vectorized(theano.function([x], tt.exp(x), mode=rewritten))
