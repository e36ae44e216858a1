"""Threaded element-wise passes: same values as Theano's own, whatever lies in memory how."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.tensor.inplace import add_inplace

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


@pytest.fixture(scope="module")
def masked():
    """Comparisons, casts and switches of bytes, masks and float32, and what they are; masks lie on images' channels."""
    pixels, images, channel = (
        tt.TensorType("uint8", (False,) * 4)("pixels"),
        tt.ftensor4("images"),
        tt.fvector("channel"),
    )
    channels, maxima = (
        channel.dimshuffle("x", "x", "x", 0),
        tt.TensorType("float32", (False, True, True, False))("maxima"),
    )
    above = tt.gt(images, channels)
    results = [
        above,
        tt.switch(above, pixels / np.float32(255), tt.clip(images, -1, maxima)),
        tt.maximum(pixels, images),
    ]
    function = theano.function([pixels, images, channel, maxima], results)
    assert len(vectorized(function)) == 3

    def expected(pixels, images, channel, maxima):
        clipped = np.maximum(np.minimum(images, maxima), -1)
        return [
            images > channel,
            np.where(images > channel, pixels / np.float32(255), clipped),
            np.maximum(pixels, images),
        ]

    return function, expected


@pytest.mark.parametrize(
    "shape", [(5, 7, 6, 3), (40, 30, 30, 3), (3, 20, 20, 32), (2, 3, 3, 600), (9, 40, 1, 1), (2, 3, 3, 2)]
)
def test_masks_bytes_and_operands_along_channels_or_images(masked, shape, rng):
    function, expected = masked
    pixels = rng.randint(0, 256, shape).astype("uint8")
    images, channel, maxima = (rng.randn(*s).astype("float32") for s in (shape, shape[3:], (shape[0], 1, 1, shape[3])))
    for like in (
        np.ascontiguousarray,
        lambda a: a.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1),
        lambda a: a[::-1],
    ):
        given = like(pixels), like(images), channel, like(np.abs(maxima))
        for value, exact in zip(function(*given), expected(*given)):
            np.testing.assert_allclose(value, exact, rtol=1e-6)


def test_a_users_pass_in_place_stays_in_place():
    x, y = tt.fmatrix("x"), tt.fmatrix("y")
    function = theano.function([theano.In(x, mutable=True), y], add_inplace(x, y), accept_inplace=True)
    (node,) = vectorized(function)
    assert node.op.inplace_pattern == {0: 0}
    a, b = np.ones((2, 3, 4), "float32")[:, :, ::2]
    function(a, b)
    np.testing.assert_array_equal(a, np.full((3, 2), 2, "float32"))


class Own(theano.scalar.UnaryScalarOp):
    """A user's scalar Op, which may not work on several threads."""

    def c_code(self, node, name, inputs, outputs, sub):
        return f"{outputs[0]} = {inputs[0]};"


def test_what_stays_theanos():
    x, double, scalar, whole = tt.fmatrix("x"), tt.dvector("double"), tt.fscalar("scalar"), tt.lmatrix("whole")
    known = tt.alloc(scalar, 3, 4) * tt.alloc(scalar, 1, 4) + tt.zeros((3, 4), "float32")
    rewritten = theano.Mode(linker="py", optimizer="fast_run")  # compiles nothing
    own = tt.Elemwise(Own(theano.scalar.same_out))(x)
    for result in (tt.exp(double), tt.exp(scalar), (whole // whole).astype("float32"), own, known):
        function = theano.function([x, double, scalar, whole], result, mode=rewritten, on_unused_input="ignore")
        assert not vectorized(function)
    for result in (tt.exp(x), tt.sin(x) + x, x + x[0]):
        assert vectorized(theano.function([x], result, mode=rewritten))
