"""Changes of layout against numpy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvae.backends.cpu.ops.layout import Layout
from tests.backends.cpu.ops.running import LAYOUTS, SWEEP, compiled


@SWEEP
@given(
    st.lists(st.sampled_from([1, 2, 3, 17, 40]), min_size=2, max_size=4), st.sampled_from(sorted(LAYOUTS)), st.randoms()
)
def test_layout(shape, layout, random):
    order = random.sample(range(len(shape)), len(shape))
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    (y,) = compiled(Layout(order), LAYOUTS[layout](x))
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y, x.transpose(order))


@pytest.mark.parametrize("shape", [(64, 576, 64, 1), (3, 50, 60, 20), (5, 70)])
def test_layout_of_large_arrays_in_parallel(shape, rng):
    x = rng.standard_normal(shape).astype("float32")
    for order in {(0, 3, 1, 2)[: len(shape)], tuple(range(len(shape)))[::-1]}:
        if sorted(order) == list(range(len(shape))):
            (y,) = compiled(Layout(order), x)
            np.testing.assert_array_equal(y, x.transpose(order))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int32", "int64", "float64"])
def test_layout_of_any_type(dtype, rng):
    for shape in ((64, 20, 30, 3), (2, 1, 5, 4), (3, 0, 2, 2), (2, 5, 6, 1)):
        x = rng.randint(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
        for values in (x, x[:, :, ::-1]):
            (y,) = compiled(Layout((0, 3, 1, 2)), values)
            assert y.flags.c_contiguous and y.dtype == dtype
            np.testing.assert_array_equal(y, values.transpose(0, 3, 1, 2))
