"""The command that prints what the GPU step asks of a device."""

from tests.conftest import last_line_of


def test_it_prints_counts_and_the_hosts_time(computing_device):
    """The host's time for a step that is launched as a graph is one call of the driver, whatever the step."""
    milliseconds = last_line_of("bench.dry_run", flags=",gcc.cxxflags=-O0", cache="cuda")
    name, value = milliseconds.split(": ")
    assert name == "host milliseconds as a graph" and 0 < float(value) <= 0.02
