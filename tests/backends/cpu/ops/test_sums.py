"""Sums, maxima and minima over any axes against numpy's in float64."""

import itertools

import numpy as np
import pytest
import theano
import theano.tensor as tt
import threadpoolctl
from hypothesis import given
from hypothesis import strategies as st

from fastvae.backends.cpu.ops.sums import ColumnSum, Reduction, Total
from tests.backends.cpu.ops.running import DIRECT, LAYOUTS, SWEEP, compiled

AXES = {n: [a for k in range(1, n + 1) for a in itertools.combinations(range(n), k)] for n in range(1, 6)}


@pytest.mark.parametrize("shape", [(4, 3), (1000, 65), (7, 30, 40, 6)])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_column_sum(shape, layout, rng, close):
    x = rng.standard_normal(shape).astype("float32") + np.float32(1)
    (y,) = compiled(ColumnSum(), LAYOUTS[layout](x))
    close(y, x.astype("float64").sum(tuple(range(x.ndim - 1))), 1e-6)


@SWEEP
@given(
    st.lists(st.sampled_from([1, 2, 3, 5, 17, 70]), min_size=1, max_size=5), st.sampled_from(sorted(LAYOUTS)), st.data()
)
def test_any_axes(shape, layout, data):
    axes = data.draw(st.sampled_from(AXES[len(shape)]))
    if layout in ("reversed", "channels first") and len(shape) < 2 or np.prod(shape) > 1e6:
        layout, shape = "contiguous", [min(length, 5) for length in shape]
    x = np.random.default_rng(0).standard_normal(shape).astype("float32") + np.float32(0.5)
    exact = x.astype("float64")
    (total,) = compiled(Reduction("sum", axes), LAYOUTS[layout](x))
    np.testing.assert_allclose(total, exact.sum(axes), rtol=1e-6, atol=1e-6 * np.abs(exact).sum(axes).max())
    for how in ("maximum", "minimum"):
        (found,) = compiled(Reduction(how, axes), LAYOUTS[layout](x))
        np.testing.assert_array_equal(found, (np.max if how == "maximum" else np.min)(x, axes))


def large(rng, *shape):
    return (rng.standard_normal(shape) + 1).astype("float32")


@pytest.mark.parametrize(
    "shape", [(70, 30, 31, 3), (64, 14, 14, 32), (3, 5000, 1, 65), (200, 9, 100, 1), (2, 2, 2, 9000)]
)
def test_many_numbers_and_any_number_of_threads(shape, rng):
    x = large(rng, *shape)
    exact = x.astype("float64")
    variable = tt.ftensor4()
    for axes in AXES[4]:
        function = theano.function([variable], Reduction("sum", axes)(variable), mode=DIRECT)
        results = []
        for n in (1, 2, 3, 7):
            with threadpoolctl.threadpool_limits(n, "openmp"):
                results.append(function(x).copy())
        error = np.abs(results[0] - exact.sum(axes)) / np.abs(exact).sum(axes)
        assert error.max() < 1e-6, axes
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0], err_msg=str(axes))


def test_accuracy_of_a_long_sum():
    x = np.full((3, 1 << 22), 0.1, "float32")
    for op, exact in ((Total(), 3 * (1 << 22) * float(x[0, 0])), (Reduction("sum", (1,)), (1 << 22) * float(x[0, 0]))):
        np.testing.assert_allclose(compiled(op, x)[0], exact, rtol=1e-6)


def test_not_a_number_and_infinity():
    x = np.array([[1, np.nan, 3], [np.inf, 2, -1], [-np.inf] * 3], "float32")
    for values in (x, np.repeat(x, 50, axis=1), np.ascontiguousarray(np.repeat(x, 50, axis=1).T).T):
        np.testing.assert_array_equal(compiled(Reduction("maximum", (1,)), values)[0], [np.nan, np.inf, -np.inf])
        np.testing.assert_array_equal(compiled(Reduction("minimum", (1,)), values)[0], [np.nan, -1, -np.inf])
        np.testing.assert_array_equal(compiled(Reduction("sum", (1,)), values)[0], [np.nan, np.inf, -np.inf])


def test_nothing_to_sum():
    x = np.zeros((3, 0, 2), "float32")
    np.testing.assert_array_equal(compiled(Reduction("sum", (1,)), x)[0], np.zeros((3, 2)))
    assert compiled(Reduction("maximum", (0,)), x)[0].shape == (0, 2)
    with pytest.raises(ValueError, match="length 0"):
        compiled(Reduction("maximum", (1,)), x)


def test_reductions_of_a_graph(stock, rng):
    x = tt.ftensor4("x")
    results = [x.mean((0, 2, 3)), tt.max(x, axis=(2, 3)), tt.min(x, axis=1), x.sum((2, 3), keepdims=True), x.max()]
    results += [theano.grad(x.max((2, 3)).sum(), x)]
    function = theano.function([x], results)
    reductions = [n for n in function.maker.fgraph.apply_nodes if isinstance(n.op, (tt.elemwise.CAReduce, Reduction))]
    assert all(isinstance(n.op, Reduction) for n in reductions) and len(reductions) >= 5
    value = large(rng, 4, 3, 6, 5)
    for found, expected in zip(function(value), theano.function([x], results, mode=stock)(value)):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
