import sys

import pytest

from bench import scaling
from bench.scaling import Curve, Point


def test_the_exponent_is_that_of_the_power_law():
    points = [Point(value, 3 * value**1.5, value) for value in (1, 4, 16)]
    exponent, factor = Curve("conv", "batch", 1, points).exponent
    assert (exponent, factor) == (pytest.approx(1.5), pytest.approx(3))


def test_the_bound_of_a_product_is_its_arithmetic_and_of_a_pass_its_traffic(monkeypatch):
    import numpy as np
    import theano

    from fastvae.backends.cpu.ops.matmul import MatMul
    from fastvae.backends.cpu.ops.relu_gradient import ReluGradient

    a, b = (theano.shared(np.ones((256, 256), "float32")) for _ in range(2))
    product, elementwise = (theano.function([], op(a, b)) for op in (MatMul(), ReluGradient()))
    for step in (product, elementwise):
        step()
    assert scaling.bound(product, gflops=1.0, bandwidth=1e9) == pytest.approx(1e3 * 2 * 256**3 / 1e9)
    assert scaling.bound(product, gflops=1e9, bandwidth=1.0) == pytest.approx(1e3 * 3 * 4 * 256**2 / 1e9)
    assert scaling.bound(elementwise, gflops=1.0, bandwidth=1.0) == pytest.approx(1e3 * 3 * 4 * 256**2 / 1e9)


def test_a_quick_run_writes_table_and_plots(run, tmp_path):
    done = run(sys.executable, scaling.__file__, "--quick", "--out", tmp_path, FASTVAE_PROFILE="cpu")
    assert done.returncode == 0, done.stderr
    rows = [line for line in (tmp_path / "scaling.md").read_text().splitlines() if line.startswith("| conv | filters")]
    assert len(rows) == 3 and all(float(row.split("|")[5]) > 0 for row in rows[:2])
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
