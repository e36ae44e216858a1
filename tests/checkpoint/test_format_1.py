"""Files that the last version with checkpoints of format 1 wrote load and go on (`format_1/programs.py` made them)."""

import json
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest

import fastvae
from fastvae import checkpoint, cli, renamed
from fastvae.errors import ConfigurationError
from tests.checkpoint.format_1 import programs
from tests.conftest import compile_cache
from tests.on_devices import on_every_device

WRITTEN = pathlib.Path(__file__).parent / "format_1"


@pytest.fixture
def folder(tmp_path, request):
    return shutil.copytree(WRITTEN / request.param, tmp_path / request.param)


@on_every_device
@pytest.mark.parametrize("folder", programs.PROGRAMS, indirect=True)
def test_a_checkpoint_goes_on_as_in_one_go(folder, capfd):
    with np.load(WRITTEN / "losses.npz") as losses:
        expected = losses[folder.name]
    _, approx = programs.train(folder.name, programs.WHOLE, folder, resume=True)
    # The bits are those of one processor and thread; here it is whatever the tests run on.
    np.testing.assert_allclose(approx.hist, expected, rtol=2e-5)
    assert (approx.hist[: programs.HALF] == expected[: programs.HALF]).all()
    assert f"resuming after step {programs.HALF}" in capfd.readouterr().err
    assert checkpoint.newest(folder)["step"] == programs.WHOLE


GO_ON = """
import sys
from tests.checkpoint.format_1 import programs
_, approx = programs.train("mlp", programs.WHOLE, sys.argv[1], resume=True)
print(approx.hist.tolist())
"""


@on_every_device
@pytest.mark.parametrize("folder", ["mlp"], indirect=True)
def test_a_run_goes_on_on_another_device_and_back(device, folder, capfd, run):
    """From a CPU to this device, and then to a CPU: the same rows, noise and losses, and a line of what is not."""
    between = (programs.HALF + programs.WHOLE) // 2
    programs.train("mlp", between, folder, resume=True)
    said = [capfd.readouterr().err]
    compiled = os.path.dirname(compile_cache()) if device != "cpu" else compile_cache()  # what the CPU's tests compile
    back = run(sys.executable, "-c", GO_ON, folder, flags=f"base_compiledir={compiled}", FASTVAE_PROFILE="cpu")
    said.append(back.stderr)
    with np.load(WRITTEN / "losses.npz") as losses:
        np.testing.assert_allclose(json.loads(back.stdout), losses["mlp"], rtol=2e-5)
    assert "compute something else" not in said[1]  # the device's steps were the CPU's
    for line, here, before in zip(said, (device, "cpu"), ("cpu", device)):
        is_said = f"profile='{here}' (it was '{before}')" in line.partition("not bit for bit as in one go: ")[2]
        assert is_said == (here != before), line


@pytest.mark.parametrize("folder", ["mlp"], indirect=True)
def test_another_argument_is_refused_as_it_was(folder, monkeypatch):
    monkeypatch.setitem(programs.OPTIONS["mlp"], "n_samples", 3)
    with pytest.raises(ConfigurationError, match=r"n_samples=3 \(it was 2\)"):
        programs.train("mlp", programs.WHOLE, folder, resume=True)


@on_every_device
@pytest.mark.parametrize("name", programs.OPTIONS)
def test_a_parameter_file_holds_what_the_checkpoint_does(name):
    model = fastvae.load(WRITTEN / name / "vae.npz")
    assert type(model) is type(programs.vae(name)) and model.config == programs.vae(name).config
    state = checkpoint.read(WRITTEN / name / f"checkpoint-{programs.HALF:08d}.ckpt")
    saved = {entry["name"]: entry["value"] for entry in state["variables"]}
    for parameter in model.get_params():
        np.testing.assert_array_equal(parameter.get_value(), saved[parameter.name])


@pytest.mark.parametrize("name, measured_at", [("mlp", [3, 6]), ("conv", [])])
def test_fields_that_are_states_of_parts_now_are_found_by_their_former_names(name, measured_at):
    state = checkpoint.read(WRITTEN / name / f"checkpoint-{programs.HALF:08d}.ckpt")
    with pytest.warns(renamed.RenamedWarning, match="field 'held_out' of .* is now its .*'measured'"):
        measured = state["held_out"]
    with pytest.warns(renamed.RenamedWarning, match="field 'best' of .* is now its"):
        best = state["best"]
    assert [step for step, _ in measured] == measured_at
    assert best["step"] in measured_at if measured_at else best is None
    with pytest.raises(KeyError):
        state["speed"]


@pytest.mark.parametrize("folder", ["run"], indirect=True)
def test_a_run_folder_is_evaluated(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)  # its configuration names images.npy
    assert cli.main(["evaluate", str(folder), "--samples", "5"]) == 0
    assert "reconstruction mean squared error" in capsys.readouterr().out
