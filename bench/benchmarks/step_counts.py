"""What the compiled steps of the seed models consist of (`bench/counts.py`): the same on every quiet or busy machine.

The tests hold those of the profile `cpu` to `bench/counts.json`; here is how they went, for every profile.
"""

from .common import Measured, if_available, tracked


def measured():
    """The counts by model."""
    from bench.counts import seed_counts

    return seed_counts()


class Counts(Measured):
    """One count each, by model."""

    params = [["conv", "mlp"]]
    param_names = ["model"]

    track_nodes = tracked("nodes")
    track_convolutions_forward = tracked("convolutions forward")
    track_convolutions_weights = tracked("convolutions weights")
    track_convolutions_data = tracked("convolutions data")
    track_matrix_products = tracked("matrix products")
    track_layout_copies = tracked("layout copies")
    track_host_copies = tracked("host copies")
    track_float64_variables = tracked("float64 variables")
    track_c_modules = tracked("C modules")

    def setup_cache(self):
        return if_available(measured)
