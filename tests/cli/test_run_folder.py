import dataclasses
import json

import pytest

from fastvae.cli import run_folder
from fastvae.cli.options import TrainOptions
from fastvae.errors import ConfigurationError, DataError

RUN = TrainOptions(
    data="x", model="mlp", likelihood="normal", posterior="mean-field", objective="elbo", kl="analytic", n_samples=1,
    iterations=3, batch_size=2, learning_rate=0.5, latent=2, seed=1, checkpoint_every=5,
)  # fmt: skip
OPTIONS = dataclasses.asdict(RUN)


def created(folder):
    with run_folder.locked(folder):
        run_folder.create(folder, RUN)
    return folder


def test_a_configuration_comes_back(tmp_path):
    folder = created(tmp_path / "run")
    assert run_folder.configuration(folder) == RUN
    assert "fastvae" in json.loads((folder / "config.json").read_text())


def test_the_default_folder_names_model_and_time():
    folder = run_folder.default("mlp")
    assert folder.parts[0] == "runs" and folder.name.startswith("mlp-20")


def test_a_run_without_a_step_leaves_its_name_free(tmp_path):
    folder = created(tmp_path / "run")
    run_folder.discard_untrained(folder)
    assert not folder.exists()
    (created(folder) / "checkpoint-00000000.ckpt").touch()
    run_folder.discard_untrained(folder)
    assert folder.exists()


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(DataError, match="config.json' cannot be written"):
        run_folder.configure(tmp_path, RUN)


def test_a_run_is_never_written_over(tmp_path):
    created(tmp_path)
    with pytest.raises(ConfigurationError, match="not empty"):
        created(tmp_path)


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot write"):
        created(tmp_path / "file")
    with pytest.raises(DataError, match="not a run folder"):
        run_folder.existing(tmp_path / "file")


@pytest.mark.parametrize(
    "text, message",
    [("{", "not JSON"), ("[]", "lacks a valid 'data'"), (json.dumps({**OPTIONS, "seed": "1"}), "'seed'")],
)
def test_a_damaged_configuration_is_named(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DataError, match=message):
        run_folder.existing(tmp_path)


def test_a_run_that_did_not_end_is_named(tmp_path):
    created(tmp_path / "run")
    with pytest.raises(DataError, match="holds no vae.npz: .* go on: fastvae train --resume"):
        run_folder.existing(tmp_path / "run")


def test_a_folder_that_holds_only_what_a_killed_run_left_is_a_new_one(tmp_path):
    leftovers = ["config.json.12.part", "vae.npz.12.3.part", "history.csv.12.4.part", "loss_curve.png.12.5.part",
                 "config.json.lock", "history.csv.lock"]  # fmt: skip
    for name in leftovers:
        (tmp_path / name).touch()
    created(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_run_that_goes_on_is_left_alone(tmp_path):
    created(tmp_path)
    with run_folder.locked(tmp_path):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=f"run folder '{tmp_path}' is in use by process"):
                created(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"config.json", "config.json.lock"}


@pytest.mark.parametrize(
    "name, value",
    [("batch_size", -1), ("batch_size", 0), ("batch_size", True), ("batch_size", 2.0), ("seed", 2**70), ("seed", -1),
     ("learning_rate", float("nan")), ("learning_rate", -0.5), ("learning_rate", 1), ("likelihood", "cauchy"),
     ("model", "vgg"), ("posterior", ""), ("objective", None), ("kl", ["analytic"]), ("latent", {}), ("data", 3)],
)  # fmt: skip
def test_values_that_no_option_takes_are_named(tmp_path, name, value):
    (tmp_path / "config.json").write_text(json.dumps({**OPTIONS, name: value}))
    with pytest.raises(DataError, match=f"config.json'.*'{name}'.*restore the file") as error:
        run_folder.configuration(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "\0", '{"seed": ' + "9" * 5_000 + "}"], ids=["deep", "zero", "long"])
def test_what_json_chokes_on_is_no_json(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DataError, match="is not JSON"):
        run_folder.configuration(tmp_path)


@pytest.mark.parametrize("name, hint", [("learning_rat", "did you mean 'learning_rate'"), ("x", "a newer version")])
def test_an_unknown_option_is_named(tmp_path, name, hint):
    (tmp_path / "config.json").write_text(json.dumps({"fastvae": "0.1.0", **OPTIONS, name: 1}))
    with pytest.raises(DataError, match=f"config.json' holds the unknown option '{name}' .{hint}.*restore the file"):
        run_folder.configuration(tmp_path)
