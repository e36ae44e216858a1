"""Pipelines: advance, state, restore and close, for every kind of data."""

import gc
import json
import os
import pickle
import signal
import threading
import time
import weakref

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats
import theano

from fastvae import Minibatch, checkpoint, on_disk
from fastvae.errors import ConfigurationError, DataError
from fastvae.interrupts import Interrupted, after_the_step
from fastvae.minibatch.pipelines import refuse_fixed_batch
from tests import tiny_run
from tests.on_devices import on_every_device

ROWS = np.random.default_rng(0).integers(0, 256, (20, 1, 3, 4)).astype("uint8")


def count_up(epoch, start):
    return iter([np.float32(100 * epoch + row) for row in range(start, 11)])


def minibatch(kind, folder):
    """A minibatch of each kind that can be restored."""
    if kind == "function":
        return Minibatch(count_up, 4, last="keep")
    if kind == "function of minibatches":
        return Minibatch(lambda epoch, start: [np.full(size, epoch) for size in (3, 2, 3)][start:], None)
    place, sampler = kind.split(", ", 1)
    path = folder / "rows.npy"
    if not path.exists():  # another pipeline may be reading it
        np.save(path, ROWS)
    data = ROWS if place == "resident" else on_disk(path)
    sampler, last = (sampler, "drop") if sampler == "replacement" else sampler.split(", ")
    return Minibatch(data, 6, seed=3, sampler=sampler, last=last, scale=1 / 255)


KINDS = [
    f"{place}, {sampler}"
    for place in ("resident", "streamed")
    for sampler in ("replacement", "epochs, drop", "epochs, keep")
] + ["function", "function of minibatches"]


class Run:
    """A compiled step on a minibatch, and its whole state as a training loop keeps it."""

    def __init__(self, variable):
        self.pipeline = variable.tag.pipeline
        self.step = theano.function([], variable)
        self.updated = [shared for shared in self.step.get_shared() if hasattr(shared, "default_update")]

    def take(self, n):
        batches = []
        for _ in range(n):
            self.pipeline.advance()
            batches.append(self.step().tolist())
        return batches

    def state(self):
        return self.pipeline.state(), [shared.get_value() for shared in self.updated]

    def restore(self, state):
        self.pipeline.restore(state[0])
        for shared, value in zip(self.updated, state[1]):
            shared.set_value(value)


@on_every_device
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taken", [0, 5])
def test_a_state_continues_exactly(tmp_path, kind, taken):
    one, other = Run(minibatch(kind, tmp_path)), Run(minibatch(kind, tmp_path))
    one.take(taken)
    state = one.state()
    expected = one.take(9)
    other.take(2)
    other.restore(state)
    assert other.take(9) == expected
    one.restore(state)
    assert one.take(9) == expected
    one.pipeline.close()
    other.pipeline.close()


SOME = ["resident, replacement", "resident, epochs, keep", "streamed, epochs, drop", "function"]


@pytest.mark.parametrize("kinds", [SOME, pytest.param(KINDS, marks=pytest.mark.exhaustive)])
def test_a_new_process_continues(tmp_path, python, kinds):
    states, expected = {}, {}
    for kind in kinds:
        run = Run(minibatch(kind, tmp_path))
        run.take(4)
        states[kind], expected[kind] = run.state(), run.take(5)
        run.pipeline.close()
    (tmp_path / "states").write_bytes(pickle.dumps(states))
    done = python(
        "import fastvae, json, pathlib, pickle\n"
        "from tests.minibatch.test_pipelines import Run, minibatch\n"
        f"folder, found = pathlib.Path({str(tmp_path)!r}), {{}}\n"
        "states = pickle.loads((folder / 'states').read_bytes())\n"
        f"for kind in {kinds}:\n"
        "    run = Run(minibatch(kind, folder))\n"
        "    run.restore(states[kind])\n"
        "    found[kind] = run.take(5)\n"
        "print(json.dumps(found))"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


@on_every_device
@pytest.mark.parametrize("kind", ["streamed, epochs, keep", "function"])
def test_the_state_is_of_the_batch_last_used(tmp_path, kind):
    run = Run(minibatch(kind, tmp_path))
    run.take(3)
    used = repr(run.pipeline.state())
    run.pipeline.advance()
    assert repr(run.pipeline.state()) == used
    run.pipeline.advance()  # the one in place is still unused
    expected = [run.step().tolist(), *run.take(2)]
    again = Run(minibatch(kind, tmp_path))
    again.take(3)
    assert again.take(3) == expected
    run.pipeline.close()
    again.pipeline.close()


@on_every_device
@pytest.mark.parametrize("sampler", ["replacement", "epochs, drop", "epochs, keep"])
def test_streamed_rows_are_the_resident_ones(tmp_path, sampler):
    streamed = Run(minibatch(f"streamed, {sampler}", tmp_path))
    assert streamed.take(40) == Run(minibatch(f"resident, {sampler}", tmp_path)).take(40)
    streamed.pipeline.close()


@on_every_device
def test_an_evaluation_without_advance_is_an_error(tmp_path):
    run = Run(minibatch("streamed, replacement", tmp_path))
    for _ in range(2):
        with pytest.raises(AssertionError, match="no new batch: the step is run by something else than fastvae.fit"):
            run.step()
        run.take(1)
    run.pipeline.close()


def test_stock_fit_is_refused(tmp_path):
    x = Minibatch(count_up, 4)
    with pm.Model():
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("y", mu=mu, sigma=1, observed=x, total_size=11)
        with pytest.raises(AssertionError, match="such as stock pm.fit; train with fastvae.fit"):
            pm.fit(3, progressbar=False)


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "fastvae.Minibatch"]


def test_close_ends_the_thread_and_loses_nothing(tmp_path):
    run = Run(minibatch("streamed, epochs, drop", tmp_path))
    assert not readers()
    batches = run.take(2)
    assert len(readers()) == 1
    run.pipeline.close()
    run.pipeline.close()
    assert not readers()
    batches += run.take(2)
    run.pipeline.close()
    assert batches == Run(minibatch("resident, epochs, drop", tmp_path)).take(4)


def test_a_forgotten_pipeline_ends_its_thread(tmp_path):
    run = Run(minibatch("function", tmp_path))
    run.take(1)
    (thread,), pipeline = readers(), weakref.ref(run.pipeline)
    del run
    gc.collect()
    assert pipeline() is None
    thread.join(timeout=10)
    assert not thread.is_alive()


@on_every_device
def test_an_iterator_trains_but_cannot_be_restored():
    run = Run(Minibatch(iter(np.arange(10.0)), 4))
    assert not run.pipeline.restorable
    assert run.take(2) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for _ in range(2):
        with pytest.raises(DataError, match="the data's iterator ended"):
            run.take(1)
    run.pipeline.close()
    with pytest.raises(DataError, match="was closed, and what it had read ahead is gone"):
        run.take(1)


def test_an_error_comes_after_the_batches_before_it():
    def broken(epoch, start):
        yield from count_up(epoch, start)
        raise OSError("disk gone")

    run = Run(Minibatch(broken, 5))
    assert run.take(2) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    with pytest.raises(DataError, match="raised OSError at item 11 of epoch 0: disk gone"):
        run.take(1)
    run.pipeline.close()


def test_the_reader_stays_ahead_but_not_far():
    made = []

    def make(epoch, start):
        for row in range(1000):
            made.append(row)
            yield row

    run = Run(Minibatch(make, 1))
    run.take(1)
    run.take(0) or threading.Event().wait(0.2)
    assert 2 <= len(made) <= 10
    run.pipeline.close()


def test_a_state_of_other_data_is_refused(tmp_path):
    state = minibatch("streamed, epochs, drop", tmp_path).tag.pipeline.state()
    for other in (
        Minibatch(ROWS[:19], 6, sampler="epochs"),
        Minibatch(ROWS, 5, sampler="epochs"),
        Minibatch(ROWS, 6),
        Minibatch(ROWS[:, 0], 6, sampler="epochs"),
        Minibatch(count_up, 6),
    ):
        with pytest.raises(DataError, match="a state of other data .* does not fit the .* minibatch"):
            other.tag.pipeline.restore(state)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "function" not in kind])
def test_a_state_from_before_samplers_had_their_name_is_restored(kind, tmp_path):
    state = minibatch(kind, tmp_path).tag.pipeline.state()
    old = {"order" if name == "sampler" else name: value for name, value in state.items()}
    assert old != state
    again = minibatch(kind, tmp_path).tag.pipeline
    again.restore(old)
    assert repr(again.state()) == repr(state)


def test_batches_per_epoch():
    def length(*args, **options):
        return Minibatch(*args, **options).tag.pipeline.batches_per_epoch

    assert length(ROWS, 6, sampler="epochs") == 3 and length(ROWS, 6, sampler="epochs", last="keep") == 4
    assert length(ROWS, 6) is None and length(count_up, 6) is None


# The smaller last batch in a PyMC3 model


def model_of(shape):
    with pm.Model() as model:
        pm.Normal("mu", 0, 1, shape=4)
        pm.Normal("zs", 0, 1, shape=shape, dtype="float32", total_size=10)
    return model


def test_a_model_that_fixes_the_batch_size_is_refused():
    data = np.zeros((10, 2), "float32")
    keep = Minibatch(data, 4, sampler="epochs", last="keep").tag.pipeline
    with pytest.raises(ConfigurationError, match=r"zs has shape=\(4, 1\), which fixes .* declare shape=\(10, 1\)"):
        refuse_fixed_batch([keep], model_of((4, 1)))
    refuse_fixed_batch([keep], model_of((10, 1)))
    for batch_size, options in ((4, {}), (4, dict(sampler="epochs")), (5, dict(sampler="epochs", last="keep"))):
        refuse_fixed_batch([Minibatch(data, batch_size, **options).tag.pipeline], model_of((batch_size, 1)))


@on_every_device
def test_the_total_size_factor_follows_the_batch():
    data = np.random.default_rng(1).normal(size=10).astype("float32")
    x = Minibatch(data, 4, seed=1, sampler="epochs", last="keep")
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 1)
        pm.Normal("x", mu=mu, sigma=1, observed=x, total_size=10)
    density = theano.function([mu], [model.logpt, x])
    normal = scipy.stats.norm(0.5, 1)
    for size in (4, 4, 2, 4):
        found, batch = density(0.5)
        assert len(batch) == size
        expected = scipy.stats.norm().logpdf(0.5) + 10 / size * normal.logpdf(batch).sum()
        assert found == pytest.approx(expected, rel=1e-5)


# A source that does not answer


@pytest.fixture
def stalling():
    """A run on a source that does not answer from item 10 on, until the test ends."""
    answer = threading.Event()

    def make(epoch, start):
        for row in range(start, 100):
            if row >= 10:
                answer.wait(60)
            yield np.float32(row)

    run = Run(Minibatch(make, 4))
    yield run
    answer.set()
    run.pipeline.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_data_and_the_state_is_of_the_last_step(stalling, number):
    stalling.take(2)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), number))
    with after_the_step(), pytest.raises(Interrupted) as error:
        timer.start()
        stalling.take(1)
    assert error.value.signal is number and stalling.pipeline.state()["start"] == 8
    started = time.monotonic()
    stalling.pipeline.close()  # the thread is stuck
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_waits_for_data_ends_with_a_checkpoint(stalling, tmp_path, number):
    times = []

    def press():
        times.append(time.monotonic())
        os.kill(os.getpid(), number)

    tiny = tiny_run.Run()
    timer = threading.Timer(0.5, press)
    timer.start()
    checkpoints = tiny.checkpoints(tmp_path, pipelines=[stalling.pipeline])

    def step():
        stalling.step()
        return tiny.step()

    approx = tiny.train(50, step=step, checkpoints=checkpoints, pipelines=[stalling.pipeline])
    assert time.monotonic() - times[0] < 1
    assert approx.ended_by == number.name and tiny.count.get_value() == 2
    state = checkpoint.newest(tmp_path)
    assert state["step"] == 2 and state["pipelines"][0]["start"] == 8


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_a_source_that_ends_its_thread_is_an_error_and_no_wait_for_ever(ending):
    def make(epoch, start):
        yield from range(start, 6)
        raise ending("enough")

    run = Run(Minibatch(make, 4))
    run.take(1)
    with pytest.raises(DataError, match=f"ended its thread with {ending.__name__}: enough"):
        run.take(1)
