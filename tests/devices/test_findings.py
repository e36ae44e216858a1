"""Looking for libraries and asking drivers leaves the process undisturbed, and failures are reported."""

from fastvae.devices import findings

LOADED = """
import ctypes, os, sys
sys.argv = ["fastvae"]
from fastvae.devices import findings
loaded = lambda: {line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line}
path = findings.find_library("libgomp.so.1")
assert not loaded(), loaded()
ctypes.CDLL("libgomp.so.1")
assert loaded() == {os.path.realpath(path)}, (loaded(), path)
"""


def test_a_library_is_found_as_the_loader_finds_it_without_loading_it(python):
    done = python(LOADED)
    assert done.returncode == 0, done.stderr
    assert findings.find_library("libnot_there.so") is None


def test_LD_LIBRARY_PATH_comes_first_and_further_folders_last(tmp_path, monkeypatch):
    for folder in ("first", "last"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "libtoy.so").touch()
    assert findings.find_library("libtoy.so", [tmp_path / "last"]) == str(tmp_path / "last" / "libtoy.so")
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{tmp_path}/none:{tmp_path}/first")
    assert findings.find_library("libtoy.so", [tmp_path / "last"]) == str(tmp_path / "first" / "libtoy.so")


def test_the_version_is_that_of_the_real_file(tmp_path):
    (tmp_path / "libtoy.so.1.5.3").touch()
    (tmp_path / "libtoy.so").symlink_to("libtoy.so.1.5.3")
    assert findings.version_of(tmp_path / "libtoy.so") == "1.5.3"
    assert findings.version_of(tmp_path / "libplain.so") == ""


def test_a_driver_that_crashes_or_fails_is_a_reason_not_a_crash():
    assert findings.ask("print('yes')") == ("yes\n", "")
    assert findings.ask("raise OSError('no driver')") == ("", "asking the driver failed (OSError: no driver)")
    assert findings.ask("import os; os.abort()") == ("", "asking the driver failed (exit status -6)")


def test_a_driver_that_hangs_is_left(monkeypatch):
    monkeypatch.setattr(findings, "PATIENCE", 0.2)
    assert findings.ask("import time; time.sleep(60)") == ("", "the driver did not answer within 0.2 seconds")
