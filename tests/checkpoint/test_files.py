import os

import pytest

from fastvae import checkpoint
from fastvae.errors import DataError


@pytest.fixture
def run(compiled):
    return compiled.again()


def damage(path, position=-40):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_the_last_three_are_kept(folder, run):
    assert sorted(checkpoint.steps(folder)) == [2, 4, 6]
    run.train(7, checkpoints=run.checkpoints(folder, resume=True))
    assert sorted(checkpoint.steps(folder)) == [4, 6, 7]
    assert sorted(os.listdir(folder)) == [f"checkpoint-{step:08d}.ckpt" for step in (4, 6, 7)]


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


def test_drafts_of_killed_processes_are_removed(run, folder):
    draft = folder / "checkpoint-00000008.ckpt.123.part"
    draft.write_bytes(b"half")
    run.checkpoints(folder, resume=True)
    assert not draft.exists()
