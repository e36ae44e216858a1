"""Pooling on the CPU: against stock Theano and float64, in every memory layout, and between convolutions."""

import itertools

import numpy as np
import pytest
import theano
import theano.tensor as tt
from hypothesis import given
from hypothesis import strategies as st
from theano.tensor.signal import pool as stock_pool

from fastvae.backends import abstract
from fastvae.backends.abstract import pool
from fastvae.backends.cpu.ops.layout import Layout
from fastvae.backends.cpu.ops.pool import Pool, PoolGradient
from tests.backends.cpu.ops.running import LAYOUTS, SWEEP, by_any_threads, compiled, drawn, nchw


def pixels_of_windows(size, window, stride, padding, ignore_border):
    """By the documentation of `pool_2d`: the pixels of each window along one axis."""
    if ignore_border:
        starts = range(0, size + 2 * padding - window + 1, stride)
    else:
        one_more = itertools.takewhile(lambda i: i == 0 or (i - 1) * stride + window < size, itertools.count())
        starts = [i * stride for i in one_more if i * stride < size]
    return [np.arange(max(s - padding, 0), min(s - padding + window, size)) for s in starts]


def reference(x, g, window, stride, padding, mode, ignore_border):
    """Result and gradient in float64, NCHW, for a gradient g(shape) of the result."""
    axes = [pixels_of_windows(*numbers, ignore_border) for numbers in zip(x.shape[2:], window, stride, padding)]
    y = np.zeros((*x.shape[:2], *map(len, axes)))
    g, gradient = g(y.shape), np.zeros_like(x)
    for (i, rows), (j, columns) in itertools.product(*map(enumerate, axes)):
        patch = x[:, :, rows[:, None], columns]
        value = patch.max((2, 3)) if mode == "max" else patch.sum((2, 3))
        inc = mode == "average_inc_pad" and ignore_border
        divisor = np.prod(window) if inc else len(rows) * len(columns) if mode.startswith("average") else 1
        y[:, :, i, j] = value / divisor
        share = (patch == value[:, :, None, None]) if mode == "max" else np.full(patch.shape, 1 / divisor)
        gradient[:, :, rows[:, None], columns] += share * g[:, :, i, j, None, None]
    return y, g, gradient


SIZES = st.tuples(st.sampled_from([1, 2, 3, 4, 7, 9]), st.sampled_from([1, 2, 3, 5, 8]))


@SWEEP
@given(
    n=st.sampled_from([0, 1, 3]),
    c=st.sampled_from([1, 2, 3, 4, 5, 16, 33]),
    size=SIZES,
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    mode=st.sampled_from(pool.MODES),
    ignore_border=st.booleans(),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_values_and_gradients(n, c, size, window, stride, padding, mode, ignore_border, layout):
    padding = tuple(min(p, w - 1) for p, w in zip(padding, window)) if ignore_border else (0, 0)
    rng = np.random.default_rng(n * c)
    x = rng.integers(-3, 4, (n, *size, c)).astype("float32")  # with many ties
    geometry = window, stride, padding, mode, ignore_border
    expected, g, gradient = reference(nchw(x), lambda shape: rng.normal(size=shape), *geometry)
    (y,) = compiled(Pool(pool.Pool(*geometry)), LAYOUTS[layout](x))
    assert nchw(y).shape == expected.shape
    np.testing.assert_allclose(nchw(y), expected, rtol=1e-6, atol=1e-6)
    g = LAYOUTS[layout](np.ascontiguousarray(g.transpose(0, 2, 3, 1)).astype("float32"))
    operands = [LAYOUTS[layout](x), *([y] if mode == "max" else []), g]
    (gx,) = compiled(PoolGradient(pool.PoolGradient(*geometry)), *operands)
    np.testing.assert_allclose(nchw(gx), gradient, rtol=1e-5, atol=2e-6)


@pytest.fixture(scope="module")
def both():
    """Ours and stock's value and gradient of pool_2d, with arguments, of the NCHW images x and the result's weights."""
    kept = {}

    def compute(x, **arguments):
        key = tuple(arguments.items())
        if key not in kept:
            image = tt.ftensor4()
            y = stock_pool.pool_2d(image, **arguments)
            weights = tt.cast(tt.arange(y.size) % 7, "float32").reshape(y.shape)
            outputs = [y, tt.grad(tt.sum(weights * y), image)]
            mode = theano.compile.mode.get_default_mode()
            kept[key] = [theano.function([image], outputs, mode=m) for m in (mode, mode.excluding("fastvae_onednn"))]
            ops = [type(node.op) for node in kept[key][0].maker.fgraph.apply_nodes]
            assert Pool in ops and PoolGradient in ops
        return [function(x) for function in kept[key]]

    return compute


STOCK = [
    dict(ws=(2, 2), ignore_border=True),
    dict(ws=(3, 2), ignore_border=True, stride=(2, 1), pad=(1, 1)),
    dict(ws=(3, 3), ignore_border=False, stride=(2, 2)),
    dict(ws=(2, 2), ignore_border=False, mode="average_inc_pad"),
    dict(ws=(3, 2), ignore_border=True, stride=(1, 3), pad=(2, 1), mode="average_inc_pad"),
    dict(ws=(2, 3), ignore_border=True, stride=(3, 3), mode="average_exc_pad"),
    dict(ws=(2, 2), ignore_border=True, pad=(1, 0), mode="sum"),
]


@pytest.mark.parametrize("arguments", STOCK, ids=str)
def test_pool_2d_of_anybodys_graph_gives_stocks_result(arguments, both):
    rng = np.random.default_rng(1)
    for shape in [(2, 3, 7, 6), (1, 1, 5, 9), (1, 20, 4, 4), (2, 1, 2, 1), (1, 2, 1, 1)]:
        ties = rng.integers(-2, 3, shape).astype("float32")
        for x in (drawn(rng, *shape), ties, np.where(ties > 1, np.float32(np.nan), ties)):
            for ours, stocks in zip(*both(x, **arguments)):
                assert ours.dtype == "float32"
                np.testing.assert_allclose(ours, stocks, rtol=2e-7, atol=1e-6)


def test_windows_that_become_constants_only_later():
    x = theano.shared(np.arange(8, dtype="float32").reshape(1, 1, 2, 4))
    size = tt.constant(np.zeros((1, 1, 2, 4), "float32")).shape
    pooled = theano.function([], stock_pool.pool_2d(x, size[2:], ignore_border=True))
    assert pooled().tolist() == [[[[7.0]]]] and any(isinstance(n.op, Pool) for n in pooled.maker.fgraph.apply_nodes)
    window = tt.lvector()
    variable = theano.function([window], stock_pool.pool_2d(x, window, ignore_border=True))
    assert variable([1, 2]).tolist() == [[[[1.0, 3.0], [5.0, 7.0]]]] and variable([2, 4]).tolist() == [[[[7.0]]]]


def test_windows_without_a_pixel_have_no_maximum():
    op = pool.Pool((2, 2), (1, 1), ignore_border=False)
    with pytest.raises(ValueError, match="Pool: a window has no pixel, in images of 0 x 3"):
        compiled(Pool(op), np.zeros((1, 0, 3, 1), "float32"))
    with pytest.raises(
        ValueError, match="Pool: windows of 2 x 2 do not fit into the images with padding 0 x 0, of 1 x 3"
    ):
        compiled(Pool(pool.Pool((2, 2), fits=True)), np.zeros((1, 1, 3, 1), "float32"))
    with pytest.raises(ValueError, match="PoolGradient: images of 4 x 4 pixels have 2 x 2 windows, not 2 x 1"):
        arrays = [np.zeros(s, "float32") for s in ((1, 4, 4, 1), (1, 2, 2, 1), (1, 2, 1, 1))]
        compiled(PoolGradient(pool.PoolGradient((2, 2))), *arrays)


@pytest.mark.parametrize("mode", ["max", "average_inc_pad"])
def test_large_images_in_parallel(mode, close):
    rng = np.random.default_rng(0)
    x = drawn(rng, 5, 31, 33, 12)
    geometry = (3, 3), (2, 2), (1, 1), mode, True
    expected, g, gradient = reference(nchw(x), lambda shape: rng.normal(size=shape), *geometry)
    (y,) = by_any_threads(Pool(pool.Pool(*geometry)), x)
    close(nchw(y), expected, 1e-6)
    g = np.ascontiguousarray(g.transpose(0, 2, 3, 1)).astype("float32")
    close(
        nchw(by_any_threads(PoolGradient(pool.PoolGradient(*geometry)), x, *([y] if mode == "max" else []), g)[0]),
        gradient,
    )


@pytest.mark.parametrize("mode", ["max", "average_exc_pad"])
def test_between_convolutions_no_layout_changes_and_the_gradient_is_stocks(mode, stock, close):
    rng = np.random.default_rng(0)
    x, first, second = drawn(rng, 2, 3, 8, 8), drawn(rng, 4, 3, 3, 3), drawn(rng, 2, 4, 3, 3)
    first, second = theano.shared(first), theano.shared(second)
    h = stock_pool.pool_2d(abstract.conv2d(tt.constant(x), first), (2, 2), ignore_border=True, mode=mode)
    y = abstract.conv2d(h, second)
    outputs = [y, *theano.grad(tt.sum(y**2), [first, second])]
    function = theano.function([], outputs)
    nodes, (last, *_) = function.maker.fgraph.apply_nodes, function.maker.fgraph.outputs
    assert [sum(isinstance(node.op, cls) for node in nodes) for cls in (Pool, PoolGradient)] == [1, 1]
    computed = [node for node in nodes if isinstance(node.op, Layout) and node.inputs[0].owner is not None]
    assert computed == [last.owner]  # what the function returns is NCHW, and nothing within it
    for value, expected in zip(function(), theano.function([], outputs, mode=stock)()):
        close(value, expected)
