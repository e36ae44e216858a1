"""Programs in turn on one GPU, here without one: workers that answer at once."""

import json
import math
import types

import numpy as np
import pytest

from bench import gpu_speed
from bench.gpu_host import Budget
from bench.pairing import WorkerFailed
from bench.problem import Problem


class Timed:
    """A worker that takes so many milliseconds, and may fail to start, or in a block."""

    process = types.SimpleNamespace(kill=lambda: None)

    def __init__(self, milliseconds, losses=(100.0, 50.0), fails=None):
        self.milliseconds, self.losses, self.fails, self.blocks, self.settings = milliseconds, losses, fails, [], {}

    def check(self):
        return [*self.losses]

    def start(self):
        if self.fails == "start":
            raise WorkerFailed("it did not start")

    def block(self, seconds):
        if self.fails == "block" and self.blocks:
            raise WorkerFailed("it stopped")
        self.blocks.append({"milliseconds": self.milliseconds})


def rows_of(*workers, budget=None, names=None):
    budget = budget or Budget(10)
    names = names or [f"program {i}" for i in range(len(workers))]
    programs = [gpu_speed.Program(name, "float32", worker, "absent") for name, worker in zip(names, workers)]
    rows = [gpu_speed.started(program, [100.0, 50.0], budget, 1.0) for program in programs]
    gpu_speed.timed(programs, rows, 4, 0.5, budget, 1.0)
    for program, row in zip(programs, rows):
        if program.worker and program.worker.blocks and "failed" not in row:
            row.update(gpu_speed.figures(program, programs, rows))
    return rows


def test_figures_are_ratios_to_fastvae_in_turn():
    ours, theirs = rows_of(Timed(2.0), Timed(5.0, losses=(100.001, 50.0)))
    assert (ours["milliseconds"], theirs["milliseconds"]) == (2.0, 5.0)
    assert theirs["times_fastvae"] == (2.5, 2.5, 2.5) and theirs["gap"] == pytest.approx(1e-5)
    assert len(ours["blocks"]) == 4


def test_a_program_that_fails_drops_out_and_the_others_are_timed():
    first, stopped, silent, other, absent = rows_of(
        Timed(2.0),
        Timed(1.0, fails="block"),
        Timed(1.0, fails="start"),
        Timed(1.0, losses=(100.0, math.nan)),
        None,
    )
    assert first["milliseconds"] == 2.0 and len(first["blocks"]) == 4
    assert (stopped["failed"], silent["failed"], absent["missing"]) == ("it stopped", "it did not start", "absent")
    assert "no figure counts" in other["failed"]


def test_short_of_time_there_are_two_rounds_and_out_of_time_none():
    budget = Budget(10)
    budget.began -= 600 - 5.4  # seconds are left: for the check at the start, and not for a third round of twelve
    workers = [Timed(2.0) for _ in range(12)]
    assert all(row["milliseconds"] == 2.0 for row in rows_of(*workers, budget=budget))
    assert {len(worker.blocks) for worker in workers} == {2}
    budget.began -= 10
    (late,) = rows_of(Timed(1.0), budget=budget)
    assert "left out" in late["missing"] and "milliseconds" not in late


def test_the_best_of_each_are_named():
    names = ["fastvae", "fastvae without graphs", "PyTorch eager", "PyTorch compile"]
    rows = rows_of(Timed(2.0), Timed(1.6), Timed(4.0), Timed(3.2), names=names)
    assert gpu_speed.best(rows) == {
        "float32": {
            "fastvae": {"program": "fastvae without graphs", "steps_a_second": 625.0},
            "PyTorch": {"program": "PyTorch compile", "steps_a_second": 312.5},
        }
    }
    assert gpu_speed.best([]) == {}


@pytest.fixture
def seed_problem():
    """The convolutional seed model's problem, its arrays by their shapes alone."""
    shapes = [(64, 1, 3, 3), (64, 64, 1, 1), (64, 64, 3, 3), (36864, 128), (128, 4), (2, 128), (128, 36864)]
    shapes += [(64, 64, 3, 3), (64, 64, 1, 1), (64, 1, 3, 3)]
    weights = [types.SimpleNamespace(shape=shape, size=math.prod(shape)) for shape in shapes for _ in "wb"]
    images = types.SimpleNamespace(shape=(5000, 1, 28, 28))
    batches = types.SimpleNamespace(shape=(21, 64))
    config = dict(strides=[(1, 1)] * 3, padding=[(0, 0)] * 3)
    return Problem("conv", config, (64, 24, 24), images, weights, batches, None)


def test_the_arithmetic_is_that_of_the_direct_algorithm(seed_problem):
    """By hand: 2 K^2 C O of a pixel; the dense layers' products of 36,864 and of 128 numbers."""
    work = gpu_speed.arithmetic(seed_problem)
    first, one, three = 2 * 9 * 64 * 26**2, 2 * 64 * 64 * 26**2, 2 * 9 * 64 * 64 * 24**2
    dense = 2 * (36864 * 128 + 128 * 4 + 2 * 128 + 128 * 36864)
    assert work == 64 * (3 * (2 * first + 2 * one + 2 * three + dense) - first)
    assert work / 1e9 == pytest.approx(22.3, rel=0.01)


def test_stock_s_losses_are_taken_for_the_very_problem_they_belong_to(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_speed, "SHARE", tmp_path)
    arrays = [np.arange(4, dtype="float32") for _ in range(3)]
    problem = Problem("mlp", {"hidden": 8}, (), arrays[0], [arrays[1]], np.arange(2), arrays[2])
    assert gpu_speed.carried_reference(problem) is None
    (tmp_path / "stock.json").write_text(json.dumps({gpu_speed.digest(problem): [3.0, 2.0]}))
    assert gpu_speed.carried_reference(problem) == [3.0, 2.0]
    for other in (problem._replace(config={"hidden": 9}), problem._replace(noise=arrays[2] + 1)):
        assert gpu_speed.carried_reference(other) is None
