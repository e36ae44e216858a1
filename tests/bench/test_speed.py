"""The regression guard: `pytest -m speed`, about a minute on a quiet machine."""

import os

import pytest

from bench import guard

# The rest is like them, and takes half a minute each: `pytest -m "speed and exhaustive"`.
IN_CI = ("conv", "mlp", "pooled-bn")


@pytest.mark.speed
@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=[pytest.mark.exhaustive] * (m not in IN_CI)) for m in guard.MODELS]
)
def test_the_step_is_as_fast_against_stock_as_it_was(model, capsys):
    assert "PYTEST_XDIST_WORKER" not in os.environ, "the guard's programs must not be timed side by side: leave out -n"
    verdict = guard.guard(model)
    with capsys.disabled():
        print(f"\n{verdict}")
    if verdict.word == guard.NOISY:
        pytest.skip(f"WARNING: {verdict}")  # neither a pass nor a failure
    assert verdict.word == guard.PASSED, str(verdict)
