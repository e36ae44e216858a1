"""What the GPU step asks of a device, counted on the tests' device (`bench/dry_run.py`)."""

from .common import Measured, if_available, tracked


def measured():
    """The figures, or why there are none."""
    from bench.dry_run import figures
    from fastvae import devices
    from fastvae.devices import cuda_libraries
    from fastvae.profiles import active

    if active().name != "cpu":
        return "it is counted once, under the profile cpu"
    needed = (devices.pygpu(), devices.gpuarray_headers(), cuda_libraries.find()[1])
    missing = [finding for finding in needed if not finding.found]
    return "; ".join(map(str, missing)) if missing else figures()


class DryRun(Measured):
    """The seed model's step on a device that only counts."""

    track_launches = tracked("launches")
    track_host_to_device = tracked("host_to_device")
    track_device_to_host = tracked("device_to_host")
    track_synchronisations = tracked("synchronisations")
    track_allocations = tracked("allocations")
    track_convolutions = tracked("convolutions")
    track_products = tracked("products")
    track_nodes = tracked("nodes")
    track_host_milliseconds = tracked("host milliseconds", "ms")
    track_graph_milliseconds = tracked("host milliseconds as a graph", "ms")

    def setup_cache(self):
        return if_available(measured)
