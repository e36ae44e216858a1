"""Bilinear upsampling and its gradient on the CPU: against float64, in any memory layout, and between convolutions."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from hypothesis import given
from hypothesis import strategies as st
from theano.tensor.nnet.abstract_conv import bilinear_upsampling

from fastvae.backends import abstract
from fastvae.backends.abstract import bilinear
from fastvae.backends.cpu.ops.bilinear import BilinearUpsample, BilinearUpsampleGradient
from fastvae.backends.cpu.ops.layout import Layout
from tests.backends.cpu.ops.running import LAYOUTS, SWEEP, by_any_threads, compiled, drawn, nchw


def weights(size, factor, centred):
    """By the definition, in float64: row i has the weights of the pixels at place i."""
    shift = (factor - 1) / 2 if centred else (factor - 1) // 2
    matrix = np.zeros((size * factor, size))
    for i, row in enumerate(matrix):
        place = min(max((i - shift) / factor, 0), size - 1)
        below = int(place)
        row[below] += 1 - (place - below)
        row[min(below + 1, size - 1)] += place - below
    return matrix


@SWEEP
@given(
    n=st.sampled_from([0, 1, 3]),
    c=st.sampled_from([1, 2, 3, 4, 5, 16, 33]),
    size=st.tuples(st.sampled_from([0, 1, 2, 5]), st.sampled_from([1, 2, 4, 7])),
    factors=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    centred=st.booleans(),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_values_and_gradients(n, c, size, factors, centred, layout):
    rng = np.random.default_rng(n * c)
    rows, columns = (weights(s, r, centred) for s, r in zip(size, factors))
    x = drawn(rng, n, *size, c)
    (y,) = compiled(BilinearUpsample(bilinear.BilinearUpsample(factors, centred)), LAYOUTS[layout](x))
    np.testing.assert_allclose(nchw(y), rows @ nchw(x) @ columns.T, rtol=1e-5, atol=1e-6)
    g = drawn(rng, *y.shape)
    op = BilinearUpsampleGradient(bilinear.BilinearUpsampleGradient(factors, centred))
    (gx,) = compiled(op, LAYOUTS[layout](g))
    np.testing.assert_allclose(nchw(gx), rows.T @ nchw(g) @ columns, rtol=1e-5, atol=1e-5)


def test_large_images_in_parallel(close):
    rng = np.random.default_rng(0)
    x, g = drawn(rng, 5, 12, 13, 17), drawn(rng, 5, 24, 39, 17)
    rows, columns = weights(12, 2, True), weights(13, 3, True)
    close(
        nchw(by_any_threads(BilinearUpsample(bilinear.BilinearUpsample((2, 3))), x)[0]),
        rows @ nchw(x) @ columns.T,
        1e-6,
    )
    op = BilinearUpsampleGradient(bilinear.BilinearUpsampleGradient((2, 3)))
    close(nchw(by_any_threads(op, g)[0]), rows.T @ nchw(g) @ columns, 1e-6)


def test_blocks_that_do_not_fit_are_an_error():
    message = "BilinearUpsampleGradient: images of 5 x 4 pixels do not consist of blocks of 2 x 2"
    with pytest.raises(ValueError, match=message):
        op = BilinearUpsampleGradient(bilinear.BilinearUpsampleGradient((2, 2)))
        compiled(op, np.zeros((1, 5, 4, 1), "float32"))


def test_between_convolutions_no_layout_changes_and_the_gradient_is_stocks(stock, close):
    rng = np.random.default_rng(0)
    x, first, second = drawn(rng, 2, 3, 5, 5), drawn(rng, 4, 3, 3, 3), drawn(rng, 2, 4, 3, 3)
    first, second = theano.shared(first), theano.shared(second)
    y = abstract.conv2d(bilinear.BilinearUpsample((2, 2))(abstract.conv2d(tt.constant(x), first)), second)
    outputs = [y, *theano.grad(tt.sum(y**2), [first, second])]
    function = theano.function([], outputs)
    nodes, (last, *_) = function.maker.fgraph.apply_nodes, function.maker.fgraph.outputs
    ours = [sum(isinstance(node.op, cls) for node in nodes) for cls in (BilinearUpsample, BilinearUpsampleGradient)]
    assert ours == [1, 1]
    computed = [node for node in nodes if isinstance(node.op, Layout) and node.inputs[0].owner is not None]
    assert computed == [last.owner]  # what the function returns is NCHW, and nothing within it
    for value, expected in zip(function(), theano.function([], outputs, mode=stock)()):
        close(value, expected)


def test_theanos_function_becomes_one_pass(stock, close):
    x = tt.tensor4("x", dtype="float32")
    y = bilinear_upsampling(x, 2)
    ours, stocks = (theano.function([x], y, mode=mode) for mode in (None, stock))
    kinds = [type(node.op) for node in ours.maker.fgraph.apply_nodes]
    assert BilinearUpsample in kinds and len(kinds) == 3  # and two changes of layout
    images = drawn(np.random.default_rng(0), 2, 3, 4, 5)
    close(ours(images), stocks(images), 1e-6)
