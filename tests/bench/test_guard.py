import json

import pytest

from bench import guard, guard_sensitivity, worker
from bench.guard import NOISY, PASSED, SLOWER, Figures, Limit, judge, limit

RECORDS = [
    {"processor": "a", "ratios": {"conv": [9.0, 9.1, 9.2]}},
    {"processor": "a", "ratios": {"conv": [6.0, 5.8, 6.1]}},
    {"processor": "b", "ratios": {"conv": [3.0, 3.3, 3.2]}},
]


class Timed:
    """A worker whose blocks of two steps take the given milliseconds of processor time a step, again and again."""

    def __init__(self, *times, others=0.0):
        self.times, self.others, self.blocks = times, others, []

    def block(self, seconds):
        ms = self.times[len(self.blocks) % len(self.times)]
        waited = 50  # a neighbour had the core
        block = {"steps": 2, "seconds": 2e-3 * (ms + waited), "processor": 2e-3 * ms, "others": self.others}
        self.blocks.append(block)


def test_the_limit_lies_half_way_from_the_latest_record_to_a_step_20_percent_slower():
    ratio, source = limit("conv", "a", RECORDS)
    assert 6.0 / ratio == pytest.approx(ratio / (6.0 / 1.2)) and "6.00" in source


def test_a_processor_without_a_record_has_a_loose_limit_and_says_so():
    ratio, source = limit("conv", "c", RECORDS)
    assert ratio == pytest.approx(2.0) and source.startswith("NO RECORD of c")


def test_a_measurement_sees_the_ratio_the_null_pair_and_the_load():
    workers = [Timed(10, 12), Timed(60, 72, others=0.4), Timed(10, 12)]
    figures = guard.measure(workers, 4)
    assert figures.ratio == pytest.approx(6) and figures.spread == pytest.approx(0) and figures.others == 0
    guard.forget(workers)
    workers[2] = Timed(10, 8, 20)
    assert guard.measure(workers, 6).spread > guard.SPREAD
    assert [len(w.blocks) for w in workers] == [6, 6, 6]


@pytest.mark.parametrize(
    "ratio, spread, others, word",
    [
        (5.0, 0.0, 0.0, PASSED),
        (4.99, 0.15, 1.0, SLOWER),
        (5.01, 0.15, 1.0, PASSED),
        (9.0, 0.16, 0.0, NOISY),  # never a pass
        (4.0, 0.16, 0.0, NOISY),
        (4.0, 0.1, float("nan"), SLOWER),  # the kernel does not say
        (4.0, 0.1, 1.25, SLOWER),
        (4.0, 0.1, 1.26, NOISY),  # no core was left
        (5.1, 0.1, 1.9, PASSED),
    ],
)
def test_the_verdict(ratio, spread, others, word):
    verdict = judge("conv", Figures(ratio, spread, others), Limit(5.0, "recorded"), cores=2)
    assert verdict.word == word
    assert str(verdict).startswith(f"{word}: conv: stock PyMC3 takes {ratio:.2f} times fastvae's processor time, ")


@pytest.mark.parametrize(
    "stock, rounds, word",
    [
        ([51], 4, PASSED),
        ([49, 49, 49, 49, 52, 52, 52, 52], 8, PASSED),  # 5.05 of all eight rounds
        ([49, 49, 49, 49, 50, 50, 50, 50], 8, SLOWER),
    ],
)
def test_what_does_not_pass_is_measured_on_and_all_rounds_count(stock, rounds, word, monkeypatch):
    monkeypatch.setitem(guard.ROUNDS, "conv", 4)
    workers = [Timed(10), Timed(*stock), Timed(10)]
    workers[0].blocks.append("an old one, forgotten")
    assert guard.watch("conv", workers, Limit(5.0, "recorded")).word == word
    assert [len(worker.blocks) for worker in workers] == [rounds] * 3


def test_a_noisy_pair_gets_its_second_chance(monkeypatch):
    monkeypatch.setitem(guard.ROUNDS, "mlp", 4)
    noisy = [10, 10, 14, 14]
    workers = [Timed(10), Timed(60), Timed(*noisy, *[10] * 20)]
    assert guard.watch("mlp", workers, Limit(5.0, "recorded")).word == PASSED
    workers = [Timed(10), Timed(60), Timed(*noisy)]
    assert guard.watch("mlp", workers, Limit(4.0, "recorded")).word == NOISY


def test_a_slowed_step_takes_a_fifth_longer(monkeypatch):
    clock = [0.0]

    def perf_counter():
        clock[0] += 0.01
        return clock[0]

    def step():
        clock[0] += 10
        return 3.0

    monkeypatch.setattr(worker.time, "perf_counter", perf_counter)
    assert worker.slowed(step, 0.2)() == 3.0
    assert clock[0] == pytest.approx(12, rel=0.01)
    assert worker.slowed(step, 0)() == 3.0
    assert clock[0] == pytest.approx(22, rel=0.01)


def test_a_study_counts_each_kind_of_run_and_wants_enough_of_them():
    kinds = guard_sensitivity
    right = [(kinds.SLOWED, SLOWER)] * 9 + [(kinds.SLOWED, PASSED)] + [(kinds.UNCHANGED, PASSED)] * 20
    right += [(kinds.NEIGHBOUR, NOISY), (kinds.NEIGHBOUR, PASSED)]
    text, enough = kinds.summary(right)
    assert enough and "20 % slower, 10 runs: 1 passed, 0 NOISY, not judged, 9 SLOWER; wanted 9 of SLOWER" in text
    assert not kinds.summary([*right, (kinds.UNCHANGED, NOISY)])[1]
    assert not kinds.summary([*right, (kinds.NEIGHBOUR, SLOWER)])[1]
    assert not kinds.summary([*right, (kinds.SLOWED, NOISY), (kinds.SLOWED, PASSED)])[1]
    assert not kinds.summary(right[:-2])[1]  # none of a kind


def test_the_committed_history_has_every_model():
    stored = json.loads(guard.HISTORY.read_text())
    assert "sqrt(1.2)" in stored["rule"] and stored["records"]
    assert set().union(*(record["ratios"] for record in stored["records"])) == set(guard.MODELS)
    for record in stored["records"]:
        assert all(len(ratios) >= 3 and min(ratios) > 1 for ratios in record["ratios"].values())


def test_a_network_on_a_processor_without_a_record_has_a_looser_limit():
    records = [{"processor": "a", "ratios": {"conv": [3.0], "pooled-bn": [9.0]}}]
    assert guard.limit("conv", "b", records).ratio == pytest.approx(2.0)
    assert guard.limit("pooled-bn", "b", records).ratio == pytest.approx(3.0)
    assert guard.limit("pooled-bn", "a", records).ratio == pytest.approx(9.0 / 1.2**0.5)
