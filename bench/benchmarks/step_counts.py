"""What the compiled steps of the seed models consist of (`bench/counts.py`): the same on every quiet or busy machine.

The tests hold those of the profile `cpu` to `bench/counts.json`; here is how they went, for every profile.
"""
from .common import Measured, if_available


def measured():
    """The counts by model."""
    from bench.counts import seed_counts

    return seed_counts()


def _count(name):
    def track(self, figures, model):
        return figures[model][name]

    track.unit = "in a step"
    return track


class Counts(Measured):
    """One count each, by model."""

    params = [["conv", "mlp"]]
    param_names = ["model"]

    track_nodes = _count("nodes")
    track_convolutions_forward = _count("convolutions forward")
    track_convolutions_weights = _count("convolutions weights")
    track_convolutions_data = _count("convolutions data")
    track_matrix_products = _count("matrix products")
    track_layout_copies = _count("layout copies")
    track_host_copies = _count("host copies")
    track_float64_variables = _count("float64 variables")
    track_c_modules = _count("C modules")

    def setup_cache(self):
        return if_available(measured)

    def setup(self, figures, model):
        super().setup(figures)
