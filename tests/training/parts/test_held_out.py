import pytest

from fastvae.errors import DataError
from fastvae.training.parts.held_out import HeldOut
from tests.tiny_run import Run


@pytest.fixture(scope="module")
def compiled():
    return Run()


@pytest.fixture
def run(compiled):
    return compiled.again()


def test_it_is_due_every_third_step():
    held_out = HeldOut(lambda: -1.0, every=3)
    assert [held_out.due_in(done) for done in range(5)] == [3, 2, 1, 3, 2]
    assert HeldOut().due_in(2) is None


def test_without_patience_it_never_ends(run):
    elbos = iter([-5.0] + [-6.0] * 100)
    approx = run.train(20, elbo=elbos.__next__, held_out_every=1)
    assert approx.ended_by == "steps" and approx.held_out_hist[:, 1].tolist() == [-5.0] + [-6.0] * 19


def test_a_resumed_run_that_measures_nothing_keeps_what_was_measured(run, tmp_path):
    run.train(4, elbo=lambda: -1.0, held_out_every=2, checkpoints=run.checkpoints(tmp_path))
    for n in (5, 6):
        approx = run.train(n, checkpoints=run.checkpoints(tmp_path, resume=True))
        assert approx.held_out_hist.tolist() == [[2, -1], [4, -1]]


def test_a_state_that_no_run_writes_is_one_line(run, tmp_path):
    run.train(2, checkpoints=run.checkpoints(tmp_path))
    folder = run.checkpoints(tmp_path, resume=True)
    folder._resumed.parts["held_out"] = {"measured": [1]}
    with pytest.raises(DataError, match="00000002.ckpt: .*part 'held_out' cannot go on from its state"):
        run.loop(3, checkpoints=folder)
