import math
import textwrap

import pytest

from bench import pairing
from bench.pairing import Worker, WorkerFailed, closing, difference, disturbance, fastest, in_turn, ratio


class Recorded:
    """A worker whose blocks are given."""

    def __init__(self, name, times, log=None):
        self.name, self.times, self.log = name, iter(times), log
        self.blocks, self.others = [], 0.0

    def block(self, seconds):
        self.log.append(self.name)
        self.blocks.append({"milliseconds": next(self.times), "others": 0.0})

    milliseconds = Worker.milliseconds


def test_every_other_round_is_in_reverse_order():
    log = []
    in_turn([Recorded(name, [1.0] * 4, log) for name in "ABC"], rounds=3, seconds=1)
    assert "".join(log) == "ABCCBAABC"


def test_the_ratio_is_of_neighbouring_blocks_and_lies_in_its_interval():
    log = []
    slow, fast = Recorded("slow", [2, 40, 6, 8], log), Recorded("fast", [1, 10, 2, 2], log)
    in_turn([slow, fast], rounds=4, seconds=1)
    median, low, high = ratio(slow, fast)
    assert median == 3.5 and low == 2.0 and high == 4.0
    assert fastest([slow, fast]) is fast
    assert ratio(fast, fast) == (1.0, 1.0, 1.0)
    _, narrow_low, narrow_high = pairing.median_interval([2, 4, 3, 4], (40, 60))
    assert low < narrow_low <= median <= narrow_high < high


def test_the_difference_is_the_larger_of_the_first_and_the_last_loss():
    assert difference([100, 0, 103], [100, 9, 100]) == pytest.approx(0.03)
    assert difference([99, 0, 100], [100, 9, 100]) == pytest.approx(0.01)
    for losses in ([math.nan, 100], [100, math.nan]):
        assert math.isnan(difference(losses, [100, 100]))


def test_a_busy_neighbour_makes_a_figure_disturbed():
    quiet, busy = Recorded("a", []), Recorded("b", [])
    assert disturbance([quiet]).endswith("quiet")
    busy.others = 0.9
    assert "0.90 cores" in disturbance([quiet, busy]) and "disturbed" in disturbance([quiet, busy])


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A worker of a few lines that needs neither theano nor a problem."""

    def program(name, body):
        (tmp_path / "programs").mkdir(exist_ok=True)
        (tmp_path / "programs" / f"{name}.py").write_text(textwrap.dedent(body))
        return Worker(name, f"programs.{name}", (), {"PYTHONPATH": f"{tmp_path}:{pairing.ROOT}"})

    return program


def test_a_worker_checks_starts_and_times_whatever_it_prints(program):
    worker = program(
        "chatty",
        """
        import os, time
        from bench.worker import serve

        def make_step(given):
            losses = iter([3.0, 2.0, 1.0])
            print("a library that prints")
            os.system("echo so does its child")
            return (lambda: next(losses)) if given else (lambda: time.sleep(0.05) or 7.0)

        serve(make_step, 3, lambda: {"version": "1"})
        """,
    )
    with closing([worker]):
        assert worker.check() == [3.0, 2.0, 1.0]
        worker.start()
        worker.block(0.5)
    assert worker.settings["version"] == "1" and worker.settings["fetch_every"] == 1
    assert worker.settings["peak"] > 1
    (block,) = worker.blocks
    assert block["loss"] == 7.0 and block["seconds"] >= 0.5
    assert worker.milliseconds == block["milliseconds"] >= 50
    assert worker.process.returncode == 0


def test_a_worker_that_fails_says_why(program):
    with closing([program("broken", "raise RuntimeError('no such kernel')")]) as (worker,):
        with pytest.raises(WorkerFailed, match="broken ended with status 1: (.|\n)*no such kernel"):
            worker.check()
