"""The sessions of a run on disk."""

import platform

import pytest

from fastvae.errors import DataError
from fastvae.report import sessions


def test_a_run_of_an_older_version_has_none(tmp_path):
    assert sessions.read(tmp_path) == []


@pytest.mark.parametrize("text", ["{}", "[1]", "[", b"\xff"])
def test_a_damaged_file_is_said(tmp_path, text):
    path = tmp_path / sessions.SESSIONS
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"sessions.json' does not hold the sessions of a run \(.*\): remove it$"):
        sessions.read(tmp_path)


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(DataError, match="cannot be written: No such file or directory; make room there"):
        sessions.add(tmp_path / "none", {})


def test_laps_add_up():
    clock = sessions.Clock()
    for phase in ("a", "b", "a"):
        clock.lap(phase)
    assert list(clock.seconds) == ["a", "b"] and min(clock.seconds.values()) >= 0


def test_the_processor_has_a_name(tmp_path):
    about = tmp_path / "cpuinfo"
    about.write_text("processor : 0\nmodel name\t: Fast One\nmodel name : Fast One\n")
    assert sessions.processor(about) == "Fast One"
    assert sessions.processor(tmp_path / "none") == platform.machine()
    assert {"processor", "fastvae", "theano", "numpy"} <= sessions.machine().keys()
