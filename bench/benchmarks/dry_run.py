"""What the GPU step asks of a device, counted on the dry-run device of the tests (`bench/dry_run.py`)."""
from .common import Measured, if_available


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


def _figure(name, unit="in a step"):
    def track(self, figures):
        return figures[name]

    track.unit = unit
    return track


class DryRun(Measured):
    """The seed model's step on a device that only counts."""

    track_launches = _figure("launches")
    track_host_to_device = _figure("host_to_device")
    track_device_to_host = _figure("device_to_host")
    track_synchronisations = _figure("synchronisations")
    track_allocations = _figure("allocations")
    track_convolutions = _figure("convolutions")
    track_products = _figure("products")
    track_nodes = _figure("nodes")
    track_host_milliseconds = _figure("host milliseconds", "ms")

    def setup_cache(self):
        return if_available(measured)
