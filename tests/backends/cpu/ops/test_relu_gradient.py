"""The gradient of ReLU against its definition, in place too."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.cpu.ops.relu_gradient import ReluGradient
from tests.backends.cpu.ops.running import DIRECT, LAYOUTS


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("shape", [(3, 4), (3, 50, 60, 9)])
def test_relu_gradient(shape, layout, rng):
    y, g = np.maximum(rng.standard_normal(shape), 0).astype("float32"), rng.standard_normal(shape).astype("float32")
    for op in (ReluGradient(), ReluGradient().in_place()):
        a, b = tt.TensorType("float32", [False] * len(shape))(), tt.TensorType("float32", [False] * len(shape))()
        function = theano.function([a, theano.In(b, mutable=True)], op(a, b), mode=DIRECT, accept_inplace=True)
        for _ in range(2):
            np.testing.assert_array_equal(
                function(LAYOUTS[layout](y), LAYOUTS[layout](g.copy())), np.where(y > 0, g, 0)
            )
