"""What the commands decide before they compute; `tests/cli/test_cli.py` runs them whole."""

import os
import pathlib

import numpy as np
import pytest

import fastvae
from fastvae import cli, devices
from fastvae.cli import commands
from fastvae.cli.options import TrainOptions
from fastvae.devices import instructions
from fastvae.errors import DataError
from fastvae.report import Run


def test_the_folders_of_cuda_libraries_given_as_an_argument_beat_the_environment(monkeypatch, capsys):
    monkeypatch.setenv("FASTVAE_CUDA_PATH", "/environment")
    monkeypatch.setattr(devices, "describe", lambda: os.environ["FASTVAE_CUDA_PATH"])
    assert cli.main(["devices", "--cuda-path", "/argument"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "/argument"


def test_devices_says_the_vector_instructions_of_a_run_here(monkeypatch, capsys):
    monkeypatch.setattr(devices, "describe", str)
    monkeypatch.setattr(instructions, "flags", lambda: frozenset({"avx2", "fma", "avx512f"}))
    for profile, said in (
        ("cpu", "AVX-512"),
        ("cpu:avx2", "AVX2 (fastvae.isa=avx2 from profile avx2; the processor has"),
    ):
        monkeypatch.setenv("FASTVAE_PROFILE", profile)
        assert cli.main(["devices"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"vector instructions: {said}")


def test_data_that_is_gone_is_said_to_be_the_runs(tmp_path):
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=1)
    with pytest.raises(DataError, match="the run was trained on is not available any more: no data set"):
        commands._held_out(TrainOptions(data=str(tmp_path / "gone.npy")), vae)


def test_without_a_test_split_the_training_images_serve(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.full((3, 4, 4), 0.5))
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=1)
    images, labels, split = commands._held_out(TrainOptions(data=str(tmp_path / "a.npy")), vae)
    assert (images.shape, labels, split) == ((3, 1, 4, 4), None, "train")
    assert "has no test images" in capsys.readouterr().err


def test_runs_of_one_name_in_a_report_are_called_by_their_paths():
    a, b = (Run(name, {}, {}, batch_size=1, losses=[], held_out=[], sessions=[]) for name in ("x", "y"))
    folders = [pathlib.Path("first/x"), pathlib.Path("second/x")]
    assert [run.name for run in commands._told_apart([a, a], folders)] == ["first/x", "second/x"]
    assert commands._told_apart([a, b], folders) == [a, b]


def test_the_picture_of_the_model_has_every_layer_between_image_and_latent():
    boxes = commands._boxes(fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=1))
    assert [kind for *_, kind in boxes] == ["observed", *["encoder"] * 3, *["decoder"] * 3, "latent"]
    assert boxes[0][1] == "1 x 4 x 4" and boxes[2] == ("Linear", "8", "encoder")


def test_labels_that_nobody_uses_block_nothing_and_odd_ones_are_said(tmp_path, caplog):
    images = np.full((3, 4, 4), 0.5)
    odd = dict(y_train=images, labels=np.arange(3), y_test=np.arange(2))
    np.savez(tmp_path / "a.npz", x_train=images, x_test=images, **odd)
    config, vae = TrainOptions(data=str(tmp_path / "a.npz")), fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=1)
    assert fastvae.datasets.load(tmp_path / "a.npz").shape == (3, 1, 4, 4)
    assert commands._held_out(config, vae, labels=False)[1] is None and not caplog.records
    assert commands._held_out(config, vae)[1] is None
    (record,) = caplog.records
    assert record.getMessage().startswith("going on without labels: ") and "2 labels for 3" in record.getMessage()
