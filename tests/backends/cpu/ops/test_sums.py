"""Sums over rows against numpy's in float64."""

import numpy as np
import pytest

from fastvae.backends.cpu.ops.sums import ColumnSum
from tests.backends.cpu.ops.running import LAYOUTS, compiled


@pytest.mark.parametrize("shape", [(4, 3), (1000, 65), (7, 30, 40, 6)])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_column_sum(shape, layout, rng, close):
    x = rng.standard_normal(shape).astype("float32") + np.float32(1)
    (y,) = compiled(ColumnSum(), LAYOUTS[layout](x))
    close(y, x.astype("float64").sum(tuple(range(x.ndim - 1))), 1e-6)
