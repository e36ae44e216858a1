"""What `tests.on_devices` reports of tests that ran in another process is what came of them there."""

import os

import pytest

from tests import on_devices
from tests.conftest import ROOT

TESTS = """
import os
import pytest

pytestmark = pytest.mark.parametrize("device", ["cpu"])

@pytest.fixture(scope="module")
def calls():
    return []

def test_that_passes(device, calls):
    calls.append(1)

def test_that_fails(device, calls):
    calls.append(2)
    print("said", calls)
    assert calls == "other"

def test_that_is_skipped(device):
    pytest.skip("no reason")

def test_that_kills_its_process(device):
    os.write(2, b"last words")
    os.abort()
"""


def test_what_ends_there_ends_here(tmp_path):
    file = tmp_path / "test_file.py"
    file.write_text(TESTS)
    environ = {**os.environ, "TESTS_RUN_ON": "cpu", "PYTHONPATH": str(ROOT)}
    other = on_devices.Elsewhere([str(file), f"--rootdir={tmp_path}", "--confcutdir", str(tmp_path)], environ)

    def run(name, following):
        other.run(*(f"test_file.py::test_that_{each}[cpu]" for each in (name, following)))

    run("passes", "fails")
    with pytest.raises(pytest.fail.Exception, match=r"(?s)assert \[1, 2\] == 'other'.*said \[1, 2\]"):
        run("fails", "is_skipped")  # a fixture of the file is still what it was
    with pytest.raises(pytest.skip.Exception, match="no reason"):
        run("is_skipped", "kills_its_process")
    assert other.lives
    with pytest.raises(pytest.fail.Exception, match=r"(?s)its process ended or hung, and said: .*last words"):
        run("kills_its_process", None)
    assert not other.lives
    run("passes", None)  # in another process
    other.close()


@pytest.mark.parametrize(
    "nodeid, gpu",
    [
        ("tests/test_a.py::test_b[cuda]", "cuda"),
        ("tests/test_a.py::test_b[elbo-opencl-1]", "opencl"),
        ("tests/test_a.py::test_b[cpu-elbo]", None),
        ("tests/cuda_device/test_a.py::test_cuda", None),
    ],
)
def test_the_gpu_that_a_test_names(nodeid, gpu):
    assert on_devices.gpu_in(nodeid) == gpu


def test_one_that_does_nothing_on_the_device_or_is_found_at_fault_has_not_passed():
    assert on_devices.of_the_device(1, []) == ("passed", "")
    assert on_devices.of_the_device(0, []) == (
        "failed",
        f"nothing of it ran on {on_devices.HERE}: it says nothing of it",
    )
    assert on_devices.of_the_device(1, ["race", on_devices.HARMLESS, "leak"]) == ("failed", "race\nleak")
