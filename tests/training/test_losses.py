"""A loop that leaves its losses on the device for some steps does what one does that fetches each."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from fastvae import checkpoint
from fastvae.errors import NonFiniteError
from fastvae.training import history, loop, losses
from tests.on_devices import on_every_device
from tests.tiny_run import Run

SIZE = 4


@pytest.fixture(scope="module")
def compiled():
    return Run(), Run(buffered=SIZE)


@pytest.fixture
def plain(compiled):
    return compiled[0].again()


@pytest.fixture
def buffered(compiled):
    return compiled[1].again()


def interrupting(run, at, action):
    """The run's step, with something happening after step `at`."""

    def step():
        run.step()
        if run.count.get_value() == at:
            action()

    return step


@on_every_device
@pytest.mark.parametrize("n, every, held_out_every", [(11, 1_000, 1_000), (11, 3, 5), (3, 2, 3), (8, 4, 4)])
def test_losses_history_checkpoints_and_held_out_elbos_are_those_of_single_steps(
    plain, buffered, tmp_path, n, every, held_out_every
):
    found = []
    for run, folder in ((plain, tmp_path / "plain"), (buffered, tmp_path / "buffered")):
        options = dict(checkpoints=run.checkpoints(folder, every), history=tmp_path / f"{folder.name}.csv")
        elbo = lambda run=run: float(run.count.get_value())  # noqa: E731
        approx = run.train(n, elbo=elbo, held_out_every=held_out_every, **options)
        states = {step: checkpoint.read(path) for step, path in checkpoint.steps(folder).items()}
        values = {step: [entry["value"].tobytes() for entry in state["variables"]] for step, state in states.items()}
        seen = {step: state["losses"].tolist() for step, state in states.items()}
        rows = (tmp_path / f"{folder.name}.csv").read_text()
        found.append((approx.hist.tolist(), approx.held_out_hist.tolist(), rows, values, seen))
    assert found[0] == found[1]
    assert len(found[0][0]) == n == buffered.count.get_value()


@on_every_device
def test_a_resumed_run_goes_on_with_the_buffer_wherever_it_stood(plain, buffered, tmp_path):
    buffered.train(3, checkpoints=buffered.checkpoints(tmp_path))
    again = buffered.train(9, checkpoints=buffered.checkpoints(tmp_path, resume=True))
    assert again.hist.tolist() == plain.train(9).hist.tolist()


@on_every_device
def test_a_loss_that_is_not_finite_names_its_own_step(buffered, tmp_path):
    def spoil():
        buffered.w.set_value(np.array([1, np.inf, 1], "float32"))

    run = buffered.loop(
        9,
        interrupting(buffered, 5, spoil),
        checkpoints=buffered.checkpoints(tmp_path, every=4),
        history=tmp_path / "h.csv",
    )
    with pytest.raises(NonFiniteError, match="became inf at step 6;.* is 'w'.*state is in .*00000004.ckpt") as error:
        run.run()
    assert buffered.count.get_value() == 8  # it was noticed two steps later
    assert len(error.value.approx.hist) == 5 == len(history.read(tmp_path / "h.csv"))
    assert checkpoint.newest(tmp_path)["step"] == 4


@on_every_device
def test_a_signal_ends_the_run_after_its_step(buffered, tmp_path):
    step = interrupting(buffered, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    run = buffered.loop(100, step, checkpoints=buffered.checkpoints(tmp_path, every=50))
    run.run()
    assert run.approx.ended_by == "SIGTERM" and len(run.approx.hist) == 2 == buffered.count.get_value()
    assert checkpoint.newest(tmp_path)["step"] == 2


@on_every_device
def test_an_error_between_two_fetches_loses_no_loss(buffered, tmp_path):
    def fail():
        raise ZeroDivisionError

    run = buffered.loop(100, interrupting(buffered, 7, fail), history=tmp_path / "h.csv")
    with pytest.raises(ZeroDivisionError):
        run.run()
    assert len(run.approx.hist) == 6 == len(history.read(tmp_path / "h.csv"))  # the seventh step did not return


def test_losses_are_fetched_in_time_where_steps_are_slow(buffered, monkeypatch):
    fetched = []
    fetch = buffered.buffer.fetch
    monkeypatch.setattr(loop, "LATEST", 0.0)
    monkeypatch.setattr(buffered.buffer, "fetch", lambda n: fetched.append(n) or fetch(n))
    buffered.train(5)
    assert fetched == [1] * 5


@on_every_device
def test_pymc3s_own_loop_gets_a_loss_a_step(plain, buffered):
    wanted = plain.train(6).hist
    run = buffered.loop(4)
    run.run()
    assert [run.inference.state.step() for _ in range(2)] == wanted[4:].tolist()


def test_the_interval_is_one_on_the_cpu_and_with_callbacks(monkeypatch):
    assert losses.interval(None, None) == 1 and losses.interval(7, None) == 7
    assert losses.interval(7, [print]) == 1
    monkeypatch.setattr(losses, "theano", SimpleNamespace(config=SimpleNamespace(device="cuda0")))
    assert losses.interval(None, None) == losses.ON_A_GPU == 100
