import os
import signal
import time

import numpy as np
import pytest

from fastvae import checkpoint
from fastvae.errors import NonFiniteError
from fastvae.training import history
from tests.tiny_run import Run


@pytest.fixture(scope="module")
def compiled():
    return Run()


@pytest.fixture
def run(compiled):
    return compiled.again()


def test_the_steps_are_taken_and_the_losses_kept(run):
    approx = run.train(5)
    assert run.count.get_value() == 5 and approx.hist.shape == (5,) and approx.ended_by == "steps"
    assert approx.held_out_hist.shape == (0, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_writes_everything(run, tmp_path, number):
    before = signal.getsignal(number)

    def press(approx, losses, i):
        if i == 3:
            os.kill(os.getpid(), number)

    approx = run.train(100, checkpoints=run.checkpoints(tmp_path), history=tmp_path / "h.csv", callbacks=[press])
    assert approx.ended_by == number.name and len(approx.hist) == 3 == run.count.get_value()
    assert checkpoint.newest(tmp_path)["step"] == 3 and history.read(tmp_path / "h.csv") == approx.hist.tolist()
    assert signal.getsignal(number) is before


def test_a_loss_that_is_not_finite_names_its_step_and_leaves_the_last_good_state(run, tmp_path):
    def step():
        if run.count.get_value() == 5:
            run.w.set_value(np.array([1, np.inf, 1], "float32"))
        return run.step()

    loop = run.loop(9, step, checkpoints=run.checkpoints(tmp_path), history=tmp_path / "h.csv")
    with pytest.raises(NonFiniteError, match="became inf at step 6;.* is 'w'.*state is in .*00000004.ckpt") as error:
        loop.run()
    assert len(error.value.approx.hist) == 5 == len(history.read(tmp_path / "h.csv"))
    state = checkpoint.newest(tmp_path)
    assert state["step"] == 4 and all(np.isfinite(entry["value"]).all() for entry in state["variables"])


def test_a_parameter_that_is_not_finite_after_a_finite_loss_is_never_saved(run, tmp_path):
    def spoil(approx, losses, i):
        if i == 6:
            run.w.set_value(np.array([1, np.nan, 1], "float32"))

    with pytest.raises(NonFiniteError, match="a parameter stopped being finite at step 6; .* is 'w'"):
        run.train(9, checkpoints=run.checkpoints(tmp_path), callbacks=[spoil])
    assert checkpoint.newest(tmp_path)["step"] == 4
    with pytest.raises(NonFiniteError, match="a parameter stopped being finite at step 6"):
        run.again().train(6, callbacks=[spoil])  # without checkpoints at the end


def test_parameters_that_are_bad_from_the_start_are_named(run, tmp_path):
    run.w.set_value(np.array([1, np.nan, 1], "float32"))
    with pytest.raises(NonFiniteError, match="before the first step the value of 'w' is not finite: give other"):
        run.train(2, checkpoints=run.checkpoints(tmp_path))
    assert not checkpoint.steps(tmp_path)


def test_a_skipped_step_is_recorded_and_not_checkpointed(run, tmp_path):
    def step():
        loss = run.step()
        return np.float32(np.nan) if run.count.get_value() == 4 else loss

    saved = []
    loop = run.loop(
        6,
        step,
        bad_steps="skip",
        progressbar=True,
        checkpoints=run.checkpoints(tmp_path),
        callbacks=[lambda *_: saved.append(max(checkpoint.steps(tmp_path)))],
    )
    loop.run()
    assert np.isnan(loop.approx.hist).tolist() == [False, False, False, True, False, False]
    assert saved == [0, 0, 2, 2, 2, 5]  # due after 4, written after 5


def test_held_out_elbos_are_recorded_shown_and_end_the_run(run, tmp_path, capsys):
    options = dict(history=tmp_path / "h.csv", held_out_every=2, patience=1, progressbar=True)
    loop = run.loop(20, elbo=iter([-3.0, -2.0, -4.0]).__next__, checkpoints=run.checkpoints(tmp_path), **options)
    loop.run()
    assert loop.approx.ended_by == "patience" and loop.done == 6
    assert loop.approx.held_out_hist.tolist() == [[2, -3], [4, -2], [6, -4]]
    assert "the parameters are those of step 4" in capsys.readouterr().err
    rows = (tmp_path / "h.csv").read_text().splitlines()[1:]
    assert [row.split(",")[3] for row in rows] == ["", "-3.0", "", "-2.0", "", "-4.0"]
    options = dict(elbo=lambda: -1.0, held_out_every=2, checkpoints=run.checkpoints(tmp_path, resume=True))
    resumed = run.train(8, **options)
    assert resumed.held_out_hist.tolist() == [[2, -3], [4, -2], [6, -4], [8, -1]]


def test_callbacks_of_a_resumed_run_see_all_losses(run, tmp_path):
    run.train(3, checkpoints=run.checkpoints(tmp_path))
    seen = []
    note = [lambda approx, losses, i: seen.append((len(losses), i))]
    run.train(5, checkpoints=run.checkpoints(tmp_path, resume=True), callbacks=note)
    assert seen == [(4, 4), (5, 5)]


def test_a_run_that_is_complete_takes_no_step(run, tmp_path):
    hist = run.train(3, checkpoints=run.checkpoints(tmp_path)).hist
    again = run.train(3, checkpoints=run.checkpoints(tmp_path, resume=True))
    assert run.count.get_value() == 3 and again.hist.tolist() == hist.tolist()


def test_history_and_pipelines_are_closed_when_a_callback_fails(run, tmp_path):
    class Pipeline:
        closed = False

        def advance(self):
            pass

        def close(self):
            self.closed = True

    def fail(approx, losses, i):
        if i == 2:
            raise ZeroDivisionError

    pipeline = Pipeline()
    with pytest.raises(ZeroDivisionError):
        run.train(5, callbacks=[fail], history=tmp_path / "h.csv", pipelines=[pipeline])
    assert pipeline.closed and len(history.read(tmp_path / "h.csv")) == 2


def test_progress_of_a_resumed_run_counts_the_steps_before(run, tmp_path, capsys):
    run.train(3, checkpoints=run.checkpoints(tmp_path))
    run.train(4, checkpoints=run.checkpoints(tmp_path, resume=True), progressbar=True)
    assert "4/4" in capsys.readouterr().err


def test_the_history_is_on_disk_while_the_run_goes_on(run, tmp_path, monkeypatch):
    monkeypatch.setattr(history, "WRITE_EVERY", 0.01)
    lengths = []

    def look(approx, losses, i):
        time.sleep(0.02)
        lengths.append(len(history.read(tmp_path / "h.csv")))

    run.train(3, history=tmp_path / "h.csv", callbacks=[look])
    assert lengths[-1] >= 2
