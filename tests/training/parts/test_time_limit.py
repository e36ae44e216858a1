import pytest

from fastvae import checkpoint
from fastvae.errors import ConfigurationError
from fastvae.training.parts import TimeLimit, time_limit
from tests.tiny_run import Run


@pytest.fixture(scope="module")
def compiled():
    return Run(), Run(buffered=4)


@pytest.fixture(params=[0, 1], ids=["single", "buffered"])
def run(compiled, request):
    return compiled[request.param].again()


@pytest.fixture
def clock(monkeypatch, run):
    """Ten seconds a step."""
    begun = []

    class Time:
        @staticmethod
        def monotonic():
            begun.append(run.count.get_value())
            return 1000.0 + 10 * float(begun[-1])

    monkeypatch.setattr(time_limit, "time", Time)


def test_a_fit_ends_when_the_time_is_over(run, clock):
    approx = run.train(100, parts=[TimeLimit(35)])
    assert approx.ended_by == "time" and len(approx.hist) == 4 == run.count.get_value()


def test_a_fit_that_is_done_before_is_not_ended_by_time(run, clock):
    approx = run.train(3, parts=[TimeLimit(35)])
    assert approx.ended_by == "steps" and len(approx.hist) == 3


def test_the_time_before_a_run_was_resumed_counts(run, clock, tmp_path):
    run.train(4, parts=[TimeLimit(75)], checkpoints=run.checkpoints(tmp_path))
    assert checkpoint.newest(tmp_path)["parts"]["time_limit"] == {"spent": 40.0}
    limit = TimeLimit(75)
    approx = run.train(100, parts=[limit], checkpoints=run.checkpoints(tmp_path, resume=True))
    assert approx.ended_by == "time" and len(approx.hist) == 8 and limit.spent == 80
    approx = run.train(100, parts=[TimeLimit(75)], checkpoints=run.checkpoints(tmp_path, resume=True))
    assert approx.ended_by == "time" and len(approx.hist) == 8  # no step more
    approx = run.train(100, parts=[TimeLimit(115)], checkpoints=run.checkpoints(tmp_path, resume=True))
    assert len(approx.hist) == 12


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "60", None, True])
def test_a_limit_is_a_number_above_0(seconds):
    with pytest.raises(ConfigurationError, match="TimeLimit: seconds=.* must be a finite number above 0"):
        TimeLimit(seconds)
