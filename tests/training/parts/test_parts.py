"""The protocol of parts, on a tiny run with single steps and with losses that stay in a buffer for four."""

import ast
import pathlib

import numpy as np
import pytest

import fastvae
from fastvae import checkpoint
from fastvae.errors import ConfigurationError, DataError
from fastvae.run_options import RunOptions
from fastvae.training import loop
from fastvae.training.parts import Part, assemble
from tests.tiny_run import Run

SIZE = 4


@pytest.fixture(scope="module")
def compiled():
    return Run(), Run(buffered=SIZE)


@pytest.fixture(params=[0, 1], ids=["single", "buffered"])
def run(compiled, request):
    return compiled[request.param].again()


class Recorder(Part):
    """Notes what is asked of it."""

    def __init__(self, needs_newest=False, due=None, end_at=None):
        self.needs_newest, self.due, self.end_at, self.calls, self.seen = needs_newest, due, end_at, [], []

    def due_in(self, done):
        return None if self.due is None else self.due - done % self.due

    def check(self, run):
        self.calls.append("check")

    def enter(self, run):
        self.calls.append("enter")

    def accept(self, run, step):
        assert run.done == step.number - 1

    def after_step(self, run, step):
        assert run.done == step.number and run.losses[-1] == step.loss
        self.seen.append((step.number, step.newest))
        if step.number == self.end_at:
            run.end("enough")

    def finish(self, run):
        self.calls.append(f"finish {run.approx.ended_by}")

    def exit(self, run, error):
        self.calls.append(f"exit {type(error).__name__}")

    def state(self):
        return {"steps": len(self.seen), "numbers": np.array([number for number, _ in self.seen])}

    def restore(self, state):
        self.seen = [(number, None) for number in state["numbers"].tolist()]
        assert len(self.seen) == state["steps"]


def test_the_loop_imports_the_protocol_alone():
    tree = ast.parse(pathlib.Path(loop.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module for module in modules if ".parts" in module} == {"fastvae.training.parts.base"}


def test_the_phases_in_order_and_every_step_once(run):
    part = Recorder()
    run.train(6, parts=[part])
    assert part.calls == ["check", "enter", "finish steps", "exit NoneType"]
    assert [number for number, _ in part.seen] == [1, 2, 3, 4, 5, 6] and part.seen[-1] == (6, True)
    assert sum(newest for _, newest in part.seen) == (6 if run.buffer is None else 2)


def test_a_part_that_is_due_sees_the_newest_parameters(run):
    part = Recorder(needs_newest=True, due=3)
    run.train(7, parts=[part])
    assert {(3, True), (6, True), (7, True)} <= set(part.seen) and all(newest for _, newest in part.seen)


@pytest.mark.parametrize("end_at", [2, 4])
def test_a_part_ends_the_fit_and_no_step_that_was_taken_is_lost(run, end_at):
    first, second = Recorder(end_at=end_at), Recorder()
    second.__class__ = type("Second", (Recorder,), {})
    approx = run.train(9, parts=[first, second])
    taken = end_at if run.buffer is None else 4
    assert approx.ended_by == "enough" and len(approx.hist) == taken == run.count.get_value()
    assert len(second.seen) == taken and second.calls[2:] == ["finish enough", "exit NoneType"]


def test_a_part_can_end_the_fit_before_the_first_step(run, tmp_path):
    class Never(Part):
        def enter(self, run):
            run.end("never")

    approx = run.train(9, parts=[Never()], checkpoints=run.checkpoints(tmp_path))
    assert approx.ended_by == "never" and len(approx.hist) == 0 and checkpoint.newest(tmp_path)["step"] == 0


@pytest.mark.parametrize("phase", ["check", "enter", "accept", "after_step", "finish"])
def test_exit_is_called_whatever_ends_the_run(run, phase):
    def fail(*arguments):
        raise ZeroDivisionError

    part, failing = Recorder(), Part()
    setattr(failing, phase, fail)
    with pytest.raises(ZeroDivisionError):
        run.train(3, parts=[part, failing])
    assert part.calls[-1] == "exit ZeroDivisionError"


def test_a_loss_that_is_not_accepted_is_not_recorded(run):
    class Refusing(Part):
        def accept(self, run, step):
            if step.number == 3:
                raise ZeroDivisionError

    running = run.loop(9, parts=[Refusing()])
    with pytest.raises(ZeroDivisionError):
        running.run()
    assert len(running.approx.hist) == 2


class Raising(Part):
    """Raises an error at the third step, or at the end."""

    def __init__(self, error, phase):
        self.error, self.phase = error, phase

    def accept(self, run, step):
        if self.phase == "accept" and step.number == 3:
            raise self.error

    def after_step(self, run, step):
        if self.phase == "after_step" and step.number == 3:
            raise self.error

    def finish(self, run):
        if self.phase == "finish":
            raise self.error


@pytest.mark.parametrize("error, reason", [(StopIteration(), "callback"), (KeyboardInterrupt(), "SIGINT")])
def test_steps_that_were_taken_count_where_a_part_stops_at_one_before_the_newest(run, tmp_path, error, reason):
    approx = run.train(9, parts=[Raising(error, "after_step")], checkpoints=run.checkpoints(tmp_path))
    taken = 3 if run.buffer is None else SIZE
    assert approx.ended_by == reason and len(approx.hist) == taken
    in_one_go = run.again().train(9).hist
    again = run.again().train(9, checkpoints=run.checkpoints(tmp_path, resume=True))
    np.testing.assert_array_equal(again.hist, in_one_go)


def test_stop_iteration_has_no_place_where_a_step_is_accepted(run):
    with pytest.raises(ConfigurationError, match="'Raising' raised StopIteration in accept: raise it in after_step"):
        run.train(9, parts=[Raising(StopIteration(), "accept")])


def test_a_part_that_fails_at_the_end_does_not_cost_the_last_checkpoint(run, tmp_path):
    with pytest.raises(ZeroDivisionError):
        run.train(3, parts=[Raising(ZeroDivisionError(), "finish")], checkpoints=run.checkpoints(tmp_path))
    assert checkpoint.newest(tmp_path)["step"] == 3


def test_stop_iteration_ends_the_fit_at_once(run):
    class Stop(Part):
        needs_newest = True

        def due_in(self, done):
            return 1

        def after_step(self, run, step):
            if step.number == 3:
                raise StopIteration

    approx = run.train(9, parts=[Stop()])
    assert approx.ended_by == "callback" and len(approx.hist) == 3


def test_a_state_comes_back(run, tmp_path):
    run.train(5, parts=[Recorder()], checkpoints=run.checkpoints(tmp_path))
    assert checkpoint.newest(tmp_path)["parts"]["Recorder"]["steps"] == 5
    again = Recorder()
    run.train(7, parts=[again], checkpoints=run.checkpoints(tmp_path, resume=True))
    assert [number for number, _ in again.seen] == [1, 2, 3, 4, 5, 6, 7]
    run.train(8, checkpoints=run.checkpoints(tmp_path, resume=True))
    assert "Recorder" not in checkpoint.newest(tmp_path)["parts"]


class Odd(Part):
    def __init__(self, state):
        self.odd = state

    def state(self):
        return self.odd


@pytest.mark.parametrize(
    "state, message",
    [
        (3, "the state of the part 'Odd' is 3: let"),
        ({"a": {1}}, "kept: .1. is neither"),
        ({"a": print}, "kept: <built"),
    ],
)
def test_a_state_that_no_checkpoint_can_keep_is_known_before_the_first_step(run, tmp_path, state, message):
    with pytest.raises(ConfigurationError, match=f"{message}.*a dict of JSON values and numpy arrays"):
        run.train(2, parts=[Odd(state)], checkpoints=run.checkpoints(tmp_path))
    assert run.count.get_value() == 0


def test_a_state_that_a_part_does_not_take_back_is_one_line(run, tmp_path):
    run.train(2, parts=[Odd({"steps": 1})], checkpoints=run.checkpoints(tmp_path))
    recorder = Recorder()
    recorder.__class__ = type("Odd", (Recorder,), {})
    with pytest.raises(DataError, match="part 'Odd' cannot go on from its state there .KeyError: 'numbers'.: give"):
        run.loop(3, parts=[recorder], checkpoints=run.checkpoints(tmp_path, resume=True))


def test_two_parts_of_one_name_are_refused():
    with pytest.raises(
        ConfigurationError, match=r"parts=\[...\]: 2 parts are named 'Part': give each a `name` of its own$"
    ):
        assemble([], RunOptions(parts=[Part(), Part()]))


@pytest.mark.parametrize("name, refused", [("Progress", False), ("History", False), ("held_out", True)])
def test_a_users_part_may_be_named_like_one_of_ours_without_a_state(name, refused):
    mine = type("Mine", (Part,), {"name": name})()
    if refused:
        with pytest.raises(ConfigurationError, match=f"2 parts are named '{name}'"):
            assemble([], RunOptions(parts=[mine]))
    else:
        assert mine in assemble([], RunOptions(history="h", parts=[mine]))


def test_the_order():
    order = [part.name for part in assemble([], RunOptions(patience=1, history="h", parts=[Part()]), elbo=float)]
    assert order == ["Finite", "held_out", "best", "History", "Progress", "Callbacks", "Part", "Patience"]


def test_fit_takes_parts_and_a_resumed_run_may_have_others(tmp_path, capsys):
    def fit(n, parts, **options):
        vae = fastvae.MLPVAE(image_shape=(1, 3, 3), hidden=4, seed=1)
        images = np.random.default_rng(0).random((8, 1, 3, 3))
        options = dict(batch_size=4, seed=1, progressbar=False, checkpoint=tmp_path, **options)
        return vae.fit(images, n=n, parts=parts, **options)

    fit(3, [Recorder()])
    again = Recorder()
    fit(5, [again], resume=True)
    assert len(again.seen) == 5 and "parts=" not in capsys.readouterr().err
    fit(6, None, resume=True)
    assert "; with n=6 (it was 5), parts=None (it was ['" in capsys.readouterr().err
    with pytest.raises(
        ConfigurationError, match=r"fit: parts=\[3\] must be None or a list of fastvae.training.parts.Pa"
    ):
        fit(7, [3], resume=True)
