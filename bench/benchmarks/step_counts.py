"""What the compiled steps of the seed models consist of (`bench/counts.py`): the same on every quiet or busy machine.

The tests hold those of the profile `cpu` to `bench/counts.json`; here is how they went, for every profile.
"""
from .common import Measured, if_available

COUNTS = [
    "nodes", "convolutions forward", "convolutions weights", "convolutions data", "matrix products", "layout copies",
    "host copies", "float64 variables", "C modules",
]  # fmt: skip


def measured():
    """The counts by model."""
    from bench.counts import seed_counts

    return seed_counts()


class Counts(Measured):
    """One figure a count and model."""

    params = [["conv", "mlp"], COUNTS]
    param_names = ["model", "count"]

    def setup_cache(self):
        return if_available(measured)

    def setup(self, figures, model, count):
        super().setup(figures)

    def track_count(self, figures, model, count):
        return figures[model][count]

    track_count.unit = "in a step"
