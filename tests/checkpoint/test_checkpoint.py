import os
import random
import resource

import numpy as np
import pytest
import theano

from fastvae import checkpoint
from fastvae.checkpoint import Checkpoints, container
from fastvae.checkpoint.container import DamagedError
from fastvae.errors import CheckpointError, ConfigurationError, DataError
from tests.tiny_run import Run


@pytest.fixture(scope="module")
def compiled():
    return Run()


@pytest.fixture
def run(compiled):
    return compiled.again()


@pytest.fixture
def folder(run, tmp_path):
    """Six steps' worth of checkpoints: those after 2, 4 and 6."""
    run.train(6, checkpoints=run.checkpoints(tmp_path / "run"))
    return tmp_path / "run"


def damage(path, position=-40):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def rewrite(path, **changes):
    container.write(path, {**container.read(path), **changes})


def test_a_state_holds_every_updated_variable_and_the_losses(run, folder):
    state = checkpoint.newest(folder)
    found = {entry["name"]: entry["value"] for entry in state["variables"]}
    assert found["w"].tobytes() == run.w.get_value().tobytes() and found["count"] == 6
    random_states = [value for value in found.values() if value.dtype == np.int32]
    assert len(found) == 3 and random_states[0].shape[1] == 6  # and not the scale, which no step updates
    assert state["step"] == 6 and state["losses"].shape == (6,)
    assert state["made_by"]["theano"] == theano.__version__ and state["made_by"]["profile"]


def test_a_trained_parameter_that_no_step_updates_is_there_too(run, tmp_path):
    checkpoints = Checkpoints(tmp_path, 1, False, {})
    checkpoints.bind(run.step, [run.scale, run.w], [])
    assert checkpoints.variables[-1] is run.scale and len(checkpoints.variables) == 4


def test_what_follows_a_checkpoint_is_bit_for_bit_what_would_have_followed(run, folder):
    in_one_go = run.again().train(9).hist
    bits = run.bits()
    run.again()
    resumed = run.train(9, checkpoints=run.checkpoints(folder, resume=True))
    assert run.bits() == bits and resumed.hist.tobytes() == in_one_go.tobytes()


def test_the_last_three_are_kept(folder, run):
    assert sorted(checkpoint.steps(folder)) == [2, 4, 6]
    run.train(7, checkpoints=run.checkpoints(folder, resume=True))
    assert sorted(checkpoint.steps(folder)) == [4, 6, 7]
    assert sorted(os.listdir(folder)) == [f"checkpoint-{step:08d}.ckpt" for step in (4, 6, 7)]


def test_a_new_run_never_writes_over_an_old_one(run, folder):
    with pytest.raises(ConfigurationError, match="checkpoints of a run up to step 6: pass resume=True"):
        run.checkpoints(folder)


def test_to_resume_from_nothing_is_to_begin_and_said(run, tmp_path, capsys):
    assert run.checkpoints(tmp_path / "new", resume=True).saved is None
    assert "no checkpoint in" in capsys.readouterr().err


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(run, folder, capsys):
    damage(folder / "checkpoint-00000006.ckpt")
    checkpoints = run.checkpoints(folder, resume=True, every=1)
    said = capsys.readouterr().err.splitlines()
    assert "checkpoint-00000006.ckpt: its checksum is wrong" in said[0] and "resuming after step 4" in said[1]
    assert checkpoints.saved == 4 and run.count.get_value() == 4
    run.train(5, checkpoints=checkpoints)
    assert sorted(checkpoint.steps(folder)) == [2, 4, 5]  # the damaged one is gone


@pytest.mark.parametrize("cut", [0, 10, 1000, -1])
def test_a_truncated_checkpoint_falls_back_too(folder, cut):
    path = folder / "checkpoint-00000006.ckpt"
    path.write_bytes(path.read_bytes()[:cut])
    assert checkpoint.newest(folder)["step"] == 4


def test_all_damaged_is_an_error(run, folder):
    for path in checkpoint.steps(folder).values():
        damage(path)
    with pytest.raises(DataError, match="none of its 3 checkpoints is whole"):
        run.checkpoints(folder, resume=True)


def test_two_hundred_mutated_checkpoints_are_detected(folder):
    path = folder / "checkpoint-00000006.ckpt"
    whole, rng = path.read_bytes(), random.Random(1)
    for _ in range(200):
        position, value = rng.randrange(len(whole)), rng.randrange(1, 256)
        path.write_bytes(whole[:position] + bytes([whole[position] ^ value]) + whole[position + 1 :])
        with pytest.raises(DamagedError):
            checkpoint.read(path)
    path.write_bytes(whole)
    assert checkpoint.read(path)["step"] == 6


def test_a_newer_format_is_an_error_and_not_passed_over(run, folder):
    rewrite(folder / "checkpoint-00000006.ckpt", format=2)
    with pytest.raises(DataError, match="has format 2, newer than 1.*upgrade fastvae"):
        run.checkpoints(folder, resume=True)


@pytest.mark.parametrize("change", ["name", "shape", "dtype", "fewer"])
def test_a_checkpoint_of_another_model(run, folder, change):
    path = folder / "checkpoint-00000006.ckpt"
    variables = checkpoint.read(path)["variables"]
    (entry,) = [entry for entry in variables if entry["name"] == "w"]
    changes = {
        "name": lambda: entry.update(name="v"),
        "shape": lambda: entry.update(value=entry["value"][:2]),
        "dtype": lambda: entry.update(value=entry["value"].astype("float64")),
        "fewer": lambda: variables.remove(entry),
    }
    changes[change]()
    rewrite(path, variables=variables)
    before = run.bits()
    with pytest.raises(DataError, match="is of another model, batch size or optimizer: its variable") as error:
        run.checkpoints(folder, resume=True)
    assert "\n" not in str(error.value) and run.bits() == before


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


def test_a_run_of_fewer_steps_than_there_are_is_refused(run, folder):
    with pytest.raises(ConfigurationError, match="n=5 counts all steps of the run, which has 6"):
        run.checkpoints(folder, resume=True).check_length(5)


def test_drafts_of_killed_processes_are_removed(run, folder):
    draft = folder / "checkpoint-00000008.ckpt.123.part"
    draft.write_bytes(b"half")
    run.checkpoints(folder, resume=True)
    assert not draft.exists()


def test_a_full_disk_ends_the_run_and_leaves_what_was_written(run, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(approx, losses, i):
        if i == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))

    try:
        with pytest.raises(CheckpointError, match="00000004.ckpt: cannot be written .File too large.*last .*00000002"):
            run.train(9, checkpoints=run.checkpoints(tmp_path), callbacks=[fill])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert run.count.get_value() == 4 and checkpoint.newest(tmp_path)["step"] == 2
    assert not list(tmp_path.glob("*.part"))


@pytest.fixture
def nobody():
    """An ordinary user, whom a folder without write permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder_is_known_before_the_first_step(run, tmp_path, request):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o555)
    request.getfixturevalue("nobody")
    with pytest.raises(ConfigurationError, match="cannot be written .Permission denied.: make room or give a writable"):
        run.checkpoints(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be written .Permission denied"):
        run.checkpoints(tmp_path / "below")
    assert run.count.get_value() == 0


def test_a_file_in_place_of_the_folder(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written .File exists"):
        run.checkpoints(tmp_path / "file")


def test_pipelines_go_on_where_they_were(run, tmp_path):
    class Pipeline:
        position = 0

        def advance(self):
            self.position += 10

        def state(self):
            return {"position": self.position, "order": np.arange(self.position)}

        def restore(self, state):
            assert len(state["order"]) == state["position"]
            self.position = state["position"]

        def close(self):
            self.closed = True

    first, second = Pipeline(), Pipeline()
    run.train(3, checkpoints=run.checkpoints(tmp_path, pipelines=[first]), pipelines=[first])
    assert first.position == 30 and first.closed
    run.train(5, checkpoints=run.checkpoints(tmp_path, resume=True, pipelines=[second]), pipelines=[second])
    assert second.position == 50
    with pytest.raises(DataError, match="has the states of 1 minibatches, this run has 0"):
        run.checkpoints(tmp_path, resume=True)


def test_a_folder_is_one_runs_until_that_ends(run, tmp_path):
    for _ in range(2):
        with run.checkpoints(tmp_path) as checkpoints:
            with pytest.raises(ConfigurationError, match=f"checkpoint='{tmp_path}' is in use by process {os.getpid()}"):
                run.checkpoints(tmp_path, resume=True)
            assert checkpoints.saved is None
    run.train(2, checkpoints=run.checkpoints(tmp_path))
    with pytest.raises(ConfigurationError, match="pass resume=True") as kept:  # its traceback keeps the object alive
        run.checkpoints(tmp_path)
    run.checkpoints(tmp_path, resume=True)
    assert kept.tb is not None


WRONG = [None, True, -1, 2**70, 0.5, "", [], {}, [[]], [None], [{}], np.zeros(3), np.zeros((6, 1)), np.zeros(6, "S3")]


@pytest.mark.parametrize("name", checkpoint.STATE)
def test_a_state_of_another_kind_is_damage_and_the_one_before_is_taken(folder, name, capsys):
    path = folder / "checkpoint-00000006.ckpt"
    state = checkpoint.read(path)
    is_right = checkpoint.STATE[name]
    changed = [{**state, name: value} for value in WRONG if not is_right(value)]
    if name != "best":  # which earlier versions did not write
        changed.append({key: value for key, value in state.items() if key != name})
    assert len(changed) >= 7
    for values in changed:
        container.write(path, values)
        with pytest.raises(DataError, match="00000006.ckpt: (its checksum is right, but not its '|has format)"):
            checkpoint.read(path)
    assert checkpoint.newest(folder)["step"] == 4
    assert "trying the checkpoint before it" in capsys.readouterr().err


def test_losses_of_another_number_of_steps_are_damage(folder):
    path = folder / "checkpoint-00000006.ckpt"
    rewrite(path, step=5)
    with pytest.raises(DamagedError, match="not its 'losses'"):
        checkpoint.read(path)


def test_a_checkpoint_of_before_arguments_were_kept_goes_on(run, tmp_path, capsys):
    run.train(2, checkpoints=run.checkpoints(tmp_path, model={"class": "A"}, seed=1, learning_rate=0.1))
    run.checkpoints(tmp_path, resume=True, model={"class": "A"}, arguments={"seed": 2, "n": 3})
    said = capsys.readouterr().err
    assert "an older version wrote it, which did not keep the arguments" in said and "not bit for bit" not in said
