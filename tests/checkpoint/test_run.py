import os
import resource

import numpy as np
import pytest

from fastvae import checkpoint
from fastvae.checkpoint import Checkpoints, container
from fastvae.errors import CheckpointError, ConfigurationError, DataError
from tests.on_devices import on_every_device


@pytest.fixture
def run(compiled):
    return compiled.again()


def rewrite(path, **changes):
    container.write(path, {**container.read(path), **changes})


@on_every_device
def test_a_trained_parameter_that_no_step_updates_is_there_too(run, tmp_path):
    checkpoints = Checkpoints(tmp_path, 1, False, {})
    checkpoints.bind(run.step, [run.scale, run.w], [])
    assert checkpoints.variables[-1] is run.scale and len(checkpoints.variables) == 4


@on_every_device
def test_what_follows_a_checkpoint_is_bit_for_bit_what_would_have_followed(run, folder):
    in_one_go = run.again().train(9).hist
    bits = run.bits()
    run.again()
    resumed = run.train(9, checkpoints=run.checkpoints(folder, resume=True))
    assert run.bits() == bits and resumed.hist.tobytes() == in_one_go.tobytes()


def test_a_new_run_never_writes_over_an_old_one(run, folder):
    with pytest.raises(ConfigurationError, match="checkpoints of a run up to step 6: pass resume=True"):
        run.checkpoints(folder)


def test_to_resume_from_nothing_is_to_begin_and_said(run, tmp_path, capsys):
    assert run.checkpoints(tmp_path / "new", resume=True).saved is None
    assert "no checkpoint in" in capsys.readouterr().err


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


def test_a_run_of_fewer_steps_than_there_are_is_refused(run, folder):
    with pytest.raises(ConfigurationError, match="n=5 counts all steps of the run, which has 6"):
        run.checkpoints(folder, resume=True).check_length(5)


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


@on_every_device
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
