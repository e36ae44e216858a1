"""The walk over a compiled function finds what it is for."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.cpu.ops.layout import to_nhwc
from tests.backends.cpu import fast_path


@pytest.fixture(scope="module")
def slow():
    """A function with one of each, compiled without the backend's rewrites, after a call."""
    x, power, images = tt.fmatrix("x"), tt.fscalar("power"), tt.ftensor4("images")
    outputs = [tt.sum(x**power), x.astype("float64").sum(0).astype("float32"), to_nhwc(images), x[:, ::2]]
    mode = theano.compile.mode.get_default_mode().excluding("fastvae_onednn", "fusion")
    function = theano.function([x, power, images], outputs, mode=mode)
    function(np.ones((20, 30), "float32"), np.float32(2), np.ones((2, 3, 4, 5), "float32"))
    return function


def test_what_is_slow_is_found(slow):
    found = fast_path.findings(slow)
    assert set(found) == {"float64", "single-threaded", "layout copies", "pow"}
    assert len(found["layout copies"]) == len(found["pow"]) == 1
    assert len(found["single-threaded"]) == 4  # the power, two sums and a cast; no copy of layout, no view
    assert len(fast_path.single_threaded(slow, 599)) == 4 and not fast_path.single_threaded(slow, 600)


def test_float64_within_a_fused_pass_is_found():
    x = tt.fmatrix("x")
    y = (tt.exp(x.astype("float64")) * 2.5).astype("float32")
    function = theano.function([x], y, mode=theano.Mode("py", "fast_run"))
    assert len(function.maker.fgraph.apply_nodes) == 1 and fast_path.float64(function)
