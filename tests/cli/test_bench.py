"""`fastvae bench` from an installed package, outside the repository."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of an installed package."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "src").mkdir()
    for name in ("setup.py", "README.md", "fastvae", "theanorc_profiles", "bench"):
        (folder / "src" / name).symlink_to(ROOT / name)
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", folder / "b", "--build-lib", folder / "lib"]
    subprocess.run(command, cwd=folder / "src", check=True, capture_output=True)
    return folder / "lib"


def test_an_installed_package_measures_itself_against_stock(installed, run, tmp_path):
    command = (sys.executable, "-m", "fastvae", "bench", "--model", "mlp", "--quick", "--threads", 1)
    done = run(*command, "--profile", "cpu", PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    assert "mlp, toy size, batch 8" in done.stdout and "fastvae's profile is cpu" in done.stdout
    for program in ("fastvae, 1 thread", "stock PyMC3, 1 thread"):
        (speed,) = re.findall(rf"\| {program} \| [\d.e+]+ \| ([\d.e+]+) \|", done.stdout)
        assert float(speed) > 1
    assert re.search(r"stock PyMC3, 1 thread / fastvae: [\d.]+, 95 % interval [\d.]+ to [\d.]+, 2 rounds", done.stdout)
    (apart,) = re.findall(r"differ by ([\d.e-]+)", done.stdout)
    assert float(apart) <= 1e-4


def test_only_what_the_comparison_needs_is_installed(installed):
    names = {path.stem for path in (installed / "fastvae" / "comparison" / "bench").glob("*.py")}
    assert "stock" in names and "measure" in names and not names & {"guard", "compare", "kills", "scaling"}


def test_what_is_wrong_is_said_before_anything_is_timed(run):
    done = run(sys.executable, "-m", "fastvae", "bench", "--profile", "cpi")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "did you mean 'cpu'" in done.stderr


def test_a_program_that_fails_is_one_line(run):
    done = run(sys.executable, "-m", "fastvae", "bench", "--quick", "--threads", 1, flags="base_compiledir=/proc/none")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert re.match(r"fastvae: error: .* ended with status \d+: ", done.stderr)
