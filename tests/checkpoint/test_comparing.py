import datetime

import numpy as np
import pytest

from fastvae import checkpoint
from fastvae.checkpoint import container
from fastvae.errors import DataError


@pytest.fixture
def run(compiled):
    return compiled.again()


def rewrite(path, **changes):
    container.write(path, {**container.read(path), **changes})


def test_another_model_class_is_refused_and_other_settings_are_said(run, tmp_path, capsys):
    run.train(2, checkpoints=run.checkpoints(tmp_path, model={"class": "A"}, learning_rate=0.1))
    with pytest.raises(DataError, match="is of another model, {'class': 'A'}, not {'class': 'B'}"):
        run.checkpoints(tmp_path, resume=True, model={"class": "B"})
    capsys.readouterr()
    run.checkpoints(tmp_path, resume=True, model={"class": "A"}, learning_rate=0.1)
    assert "not bit for bit" not in capsys.readouterr().err
    run.checkpoints(tmp_path, resume=True, model={"class": "A"}, learning_rate=np.float64(0.2))
    assert "not bit for bit as in one go: learning_rate=0.2 (it was 0.1)\n" in capsys.readouterr().err


def test_another_profile_is_said(run, folder, capsys):
    state = checkpoint.newest(folder)
    rewrite(folder / "checkpoint-00000006.ckpt", made_by={**state["made_by"], "profile": "opencl"})
    run.checkpoints(folder, resume=True)
    assert "(it was 'opencl')" in capsys.readouterr().err


def test_a_checkpoint_of_before_arguments_were_kept_goes_on(run, tmp_path, capsys):
    run.train(2, checkpoints=run.checkpoints(tmp_path, model={"class": "A"}, seed=1, learning_rate=0.1))
    run.checkpoints(tmp_path, resume=True, model={"class": "A"}, arguments={"seed": 2, "n": 3})
    said = capsys.readouterr().err
    assert "an older version wrote it, which did not keep the arguments" in said and "not bit for bit" not in said


def test_when_a_checkpoint_was_written_is_said(run, folder, capsys):
    written = checkpoint.newest(folder)["written"]
    then = datetime.datetime.strptime(written, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=datetime.timezone.utc)
    assert abs(datetime.datetime.now(datetime.timezone.utc) - then) < datetime.timedelta(hours=1)
    run.checkpoints(folder, resume=True).release()
    assert capsys.readouterr().err.endswith(f"checkpoint-00000006.ckpt, written {written}\n")
    contents = container.read(folder / "checkpoint-00000006.ckpt")
    del contents["written"]  # as an earlier version wrote it
    container.write(folder / "checkpoint-00000006.ckpt", contents)
    run.checkpoints(folder, resume=True)
    assert capsys.readouterr().err.endswith("checkpoint-00000006.ckpt\n")
