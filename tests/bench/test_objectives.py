"""What the benchmark of objectives times, and what it holds the times against."""

import itertools

import pytest

from bench import objectives
from bench.objectives import Combination


class Fake:
    """A step of known milliseconds and arithmetic."""

    def __init__(self, ms, gflop, samples=1, has_more_outputs=False):
        self.ms, self.work, self.samples, self.has_more_outputs = ms, gflop, samples, has_more_outputs

    def milliseconds(self, seconds):
        return self.ms

    def gflop(self):
        return self.work


def test_every_combination_is_timed_but_the_seeds_own_and_iwae_of_one_sample():
    choices = (objectives.OBJECTIVES, objectives.LIKELIHOODS, objectives.POSTERIORS, (1, 5))
    timed = set(objectives.combinations(*choices))
    for objective, likelihood, posterior, samples in itertools.product(*choices):
        combination = Combination(likelihood, posterior, objective, samples)
        left_out = combination == objectives.SEED or (objective.startswith("iwae") and samples == 1)
        assert (combination in timed) != left_out
    assert len(timed) == 7 * 2 * 6 - 1


@pytest.mark.parametrize(
    "step, milliseconds, ratio",
    [
        (Fake(3, 0.1), 3, 1.5),
        (Fake(15, 0.4, samples=5), 3, 1.5),  # a sample: 15 / (5 * 2)
        (Fake(30, 1.0, has_more_outputs=True), 30, 1.5),  # at the seed's speed its arithmetic takes 20
        (Fake(30, 1.0, samples=5, has_more_outputs=True), 6, 1.5),
    ],
)
def test_ratios_are_by_samples_or_by_arithmetic(step, milliseconds, ratio):
    seed = Fake(2, 0.1)
    found, ratios = objectives.measured(seed, step, pairs=2, seconds=0.1)
    assert found == milliseconds and ratios == pytest.approx([ratio] * 2)


def test_a_row_is_a_line_of_markdown():
    line = objectives.row(Combination("categorical", samples=5), 10.0, 12.3456, [1.1, 1.0, 1.3])
    assert line == "| categorical | mean-field | elbo | 5 | 2.000 | 12.346 | 1.10 (1.00 to 1.30) |"
