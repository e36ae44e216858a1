"""A long run: 300 steps from the same weights, on the same batches and noise, end where stock PyMC3's do."""

import sys

import numpy as np
import pytest

from bench import agreement, fastvae_worker, problem
from bench.pairing import ROOT, Worker
from tests.conftest import stock_flags


@pytest.mark.parametrize("model", ["conv", "mlp"])
def test_300_steps_end_with_stocks_loss(model, clean_environ, tmp_path):
    path = tmp_path / "problem.npz"
    problem.write(path, model, quick=True, steps=300)
    stock = Worker("stock", "bench.stock", (path, "seed"), {**clean_environ, "THEANO_FLAGS": stock_flags()})
    try:
        step = fastvae_worker.seed_step(problem.load(path), given=True)
        ours = [float(step()) for _ in range(300)]
        theirs = stock.check()
    finally:
        stock.close()
    assert len(theirs) == 300
    assert np.mean(ours[-50:]) < 0.9 * ours[0]  # it learns
    *_, apart = agreement.compare(ours, theirs)
    assert apart <= 0.01
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)


def test_the_compared_means_are_those_of_the_last_50():
    ours, theirs = [0.0] * 10 + [103.0] * 50, [5.0] * 10 + [100.0] * 50
    assert agreement.compare(ours, theirs) == (103.0, 100.0, pytest.approx(0.03))


def test_stock_is_a_program_of_its_own(run):
    done = run(
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import bench.stock\n"
        "print([name for name in ('fastvae', 'theano', 'pymc3') if name in sys.modules])",
    )
    assert done.stdout.strip() == "[]", done.stderr
