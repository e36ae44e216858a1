"""The command that prints what the GPU step asks of a device."""

from tests.conftest import last_line_of


def test_it_prints_counts_and_the_hosts_time(computing_device):
    milliseconds = last_line_of("bench.dry_run", flags=",gcc.cxxflags=-O0", cache="cuda")
    name, value = milliseconds.split(": ")
    assert name == "host milliseconds" and 0 < float(value) < 1_000
