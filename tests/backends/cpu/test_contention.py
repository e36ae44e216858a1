"""Other processes want the cores: how many threads Ops take then, and that results do not change with it."""

import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import theano
import theano.tensor as tt

from bench.fastvae_worker import seed_step
from bench.problem import load, write
from fastvae.backends.cpu import library
from fastvae.devices import threads

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Others:
    """Processor times as in /proc/stat, as if other processes took so many of two cores."""

    def __init__(self, path):
        self.path, self.taken = path, 0.0
        self.idle, self.at, self.own = 0.0, time.monotonic(), time.process_time()

    def write(self):
        now, own = time.monotonic(), time.process_time()
        self.idle += (2 - self.taken) * (now - self.at) - (own - self.own)
        self.at, self.own = now, own
        halves = [int(max(self.idle, 0) / 2 / TICK)] * 2
        cores = [f"cpu{i} 7 0 7 {half} 0 0 0 0 0 0\n" for i, half in zip(sorted(os.sched_getaffinity(0)), halves)]
        self.path.write_text("cpu 7 0 7 7 0 0 0 0 0 0\n" + "".join(cores) + "intr 1 2 3\n")


@pytest.fixture
def others(tmp_path):
    """Two threads on two cores, and others as a test says."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.fail("two threads that compete for cores need two cores")
    before = [pool.threads for pool in threads.pools() if pool.api == "openmp"]
    threads.limit(2, backend="cpu")
    os.sched_setaffinity(0, sorted(allowed)[:2])
    made = Others(tmp_path / "stat")
    made.write()
    library.load().watch_file(str(made.path))
    yield made
    library.load().watch_file("/proc/stat")
    os.sched_setaffinity(0, allowed)
    threads.limit(before[0], backend="cpu")


def product(size):
    x = theano.shared(np.ones((size, size), "float32"))
    return theano.function([], tt.nnet.relu(tt.dot(x, x)))


def small_op():
    return product(8)


def until(wanted, others, op, each=0.0):
    """Run an Op, as often as it comes, or one each so many seconds, until contention is as wanted."""
    end = time.monotonic() + 20
    while library.load().contention() != wanted:
        assert time.monotonic() < end, f"{library.load().contention()} is not {wanted}"
        others.write()
        for _ in range(8 if each else 400):
            op()
            if each:
                time.sleep(each)


def test_short_ops_take_the_threads_that_there_are_cores_for_and_get_them_back(others):
    op = small_op()
    until((False, 0), others, op)
    others.taken = 1.0
    until((True, 1), others, op)
    others.taken = 0.0
    until((False, 0), others, op)


def test_long_ops_keep_their_threads(others):
    op = small_op()
    others.taken = 1.5
    until((True, 0), others, op, each=2e-3)


def test_what_others_took_in_a_pause_of_ours_says_nothing(others):
    op = small_op()
    for taken, wanted in ((1.0, (True, 1)), (0.0, (False, 0))):  # so that it has looked
        others.taken = taken
        until(wanted, others, op)
    others.taken = 2.0
    time.sleep(1.3)
    others.write()
    others.taken = 0.0
    for _ in range(400):  # some looks, the first of which spans the pause
        op()
        assert library.load().contention() == (False, 0)


# Processes of their own: libgomp reads its variables when it is loaded, and idle threads of other tests count too.
OWN = """
import os, pathlib, resource, sys, tempfile, time
if os.environ.get("OMP_WAIT_POLICY") == "PASSIVE":  # as several workers of pytest have it
    del os.environ["OMP_WAIT_POLICY"]
    os.execv(sys.executable, sys.orig_argv)
import fastvae
from fastvae.devices import threads
from tests.backends.cpu.test_contention import Others, library, product, small_op, until

threads.limit(2, backend="cpu")
folder = tempfile.TemporaryDirectory()
others = Others(pathlib.Path(folder.name, "stat"))
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
library.load().watch_file(str(others.path))
"""
WAITING = """
op = product(256)

def cost():
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(10):
        others.write()
        op()
        time.sleep(0.02)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

until((False, 0), others, op, each=2e-3)
print(cost())
others.taken = 1.0
until((True, 1), others, small_op())  # which leaves them a core
until((True, 0), others, op, each=2e-3)
print(cost())
others.taken = 0.0
until((False, 0), others, op, each=2e-3)
print(cost())
"""


def test_waiting_threads_sleep_at_once_while_others_want_the_cores(python):
    """What two threads cost that wait for 20 milliseconds after each region."""
    done = python(OWN + WAITING)
    assert done.returncode == 0, done.stderr
    alone, beside, again = map(float, done.stdout.split())
    assert beside < alone / 2 and beside < again / 2


COUNTING = """
others.taken, op = 1.0, small_op()
until((True, 1), others, op)
time.sleep(1)
print(len(os.listdir("/proc/self/task")))
for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
    os.environ.pop(name, None)
others.taken = 0.0
until((False, 0), others, op)
others.taken = 1.0
until((True, 1), others, op)
time.sleep(1)
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.parametrize("variable", ["OMP_WAIT_POLICY=ACTIVE", "GOMP_SPINCOUNT=300000"])
def test_what_the_user_says_of_waiting_stands(variable, python):
    done = python(OWN + COUNTING, **dict([variable.split("=")]))
    assert done.returncode == 0, done.stderr
    kept, unset = map(int, done.stdout.split())
    assert unset >= kept + 2  # the thread that keeps idle ones, and these


@pytest.mark.parametrize("model", ["conv", "mlp"])
def test_steps_of_seed_models_have_the_same_bits(model, others, tmp_path):
    path = str(tmp_path / "problem.npz")
    write(path, model, steps=2, batch_size=16)
    op = small_op()

    def two_steps():
        step = seed_step(load(path), given=True)
        return [[np.array(step()), *(v.get_value() for v in step.get_shared())] for _ in range(2)]

    until((False, 0), others, op)
    alone = two_steps()
    library.load().watch_file(str(others.path))
    others.taken = 2.0
    until((True, 1), others, op)
    for ours, theirs in zip(two_steps(), alone, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_real_neighbours_are_noticed():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        threads.limit(max(2, len(os.sched_getaffinity(0))), backend="cpu")
        library.load().watch_file("/proc/stat")
        op, end = small_op(), time.monotonic() + 20
        while not library.load().contention()[0]:
            assert time.monotonic() < end, "busy processes on every core went unnoticed"
            op()
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_no_processor_times_mean_no_contention(others):
    pathlib.Path(others.path).write_text("nothing\n")
    op, end = small_op(), time.monotonic() + 0.5
    while time.monotonic() < end:
        op()
    assert library.load().contention() == (False, 0)
    with pytest.raises(ValueError, match="too long"):
        library.load().watch_file("x" * 300)
