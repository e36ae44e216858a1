import pytest

from fastvae import errors


@pytest.mark.parametrize(
    "ours, pythons",
    [
        (errors.StackError, ImportError),
        (errors.ProfileError, ValueError),
        (errors.DataError, ValueError),
        (errors.ConfigurationError, ValueError),
        (errors.BenchmarkError, RuntimeError),
        (errors.NonFiniteError, FloatingPointError),
    ],
)
def test_every_error_is_also_the_one_of_python_that_callers_expect(ours, pythons):
    assert issubclass(ours, errors.FastvaeError) and issubclass(ours, pythons)


def test_a_loss_that_is_not_finite_brings_the_approximation():
    approx = object()
    assert errors.NonFiniteError("nan", approx).approx is approx
