"""Times beside busy processes: the fair share, the processes, and the table."""

import os

import pytest

from bench import under_load


def test_the_fair_share():
    assert under_load.fair_share(0, cores=2) == 1.0
    assert under_load.fair_share(2, cores=2) == 2.0
    assert under_load.fair_share(1, cores=4) == 1.25


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as found:
        return set(found.read().split())


def test_busy_processes_end_whatever_happens():
    before = children()
    with pytest.raises(KeyboardInterrupt), under_load.busy(2):
        assert len(children() - before) == 2
        raise KeyboardInterrupt
    assert children() == before


def test_the_table_has_a_row_for_each_number_of_busy_processes(tmp_path):
    under_load.main(["--quick", "--no-peers", "--works", "mlp", "--busy", "0", "1", "--out", str(tmp_path)])
    rows = [line.split(" | ") for line in (tmp_path / "under_load.md").read_text().splitlines() if "| fastvae" in line]
    assert [row[1] for row in rows] == ["0", "1"]
    assert rows[0][-1].rstrip(" |") == "1.00" and float(rows[1][-1].rstrip(" |")) > 0
