import subprocess
import sys
import time

import pytest

from fastvae import timing
from fastvae.timing import Stopwatch, measure, peak_memory


def test_a_block_counts_its_steps_and_lasts_at_least_half_a_second():
    block = Stopwatch(lambda: time.sleep(0.02) or 3.0).block(seconds=0.1)
    assert 0.5 <= block.seconds < 2
    assert block.steps == pytest.approx(block.seconds / 0.02, rel=0.3)
    assert 20 <= block.milliseconds < 40
    assert block.loss == 3.0


def test_the_loss_is_fetched_at_its_interval_and_a_block_ends_with_a_fetch():
    fetched = []

    class Loss:
        def __init__(self, number):
            self.number = number

        def __float__(self):
            fetched.append(self.number)
            return float(self.number)

    taken = []

    def step():
        taken.append(None)
        time.sleep(0.01)
        return Loss(len(taken))

    block = Stopwatch(step, fetch_every=7).block()
    assert fetched == list(range(7, len(taken) + 1, 7))
    assert block.steps == len(taken) == block.loss


def test_the_device_is_synchronised_before_and_after_each_block_and_within_the_time():
    calls = []

    def step():
        calls.append("step")
        time.sleep(0.3)
        return 0.0

    def synchronize():
        calls.append("synchronize")
        time.sleep(0.1)

    block = Stopwatch(step, synchronize).block()
    assert calls == ["synchronize", "step", "step", "synchronize"]
    assert 0.7 <= block.seconds < 0.9  # the wait before the block does not count, the one after it does


def test_the_warm_up_goes_on_while_steps_get_quicker():
    pauses = iter([1.0, 0.6, 0.3, 0.3])  # compilation, autotuning, then as quick as it gets

    def step():
        time.sleep(next(pauses, 0.3))
        return 0.0

    warm_up = Stopwatch(step).warm_up()
    assert [block.steps for block in warm_up][:2] == [1, 1]
    assert [round(block.milliseconds, -2) for block in warm_up] == [1000, 600, 300, 300]


def test_a_measurement_is_the_median_of_its_blocks_and_records_its_settings(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    measurement = measure(lambda: time.sleep(0.05) or 0.0, blocks=3, fetch_every=2)
    assert len(measurement.blocks) == 3
    assert measurement.milliseconds == sorted(block.milliseconds for block in measurement.blocks)[1]
    assert measurement.settings["fetch_every"] == 2
    assert measurement.settings["threads"] == {"OMP_NUM_THREADS": "2"}
    assert measurement.settings["cores"] >= 1


def test_a_busy_neighbour_is_seen():
    if timing._busy_seconds() is None:
        pytest.skip("this kernel has no /proc/stat")
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        time.sleep(0.2)
        disturbed = Stopwatch(lambda: time.sleep(0.1) or 0.0).block(1.0)
        neighbour.kill()
    assert disturbed.others > 0.3


def test_the_process_itself_is_not_among_the_others(monkeypatch):
    busy, own = iter([50.0, 51.5]), iter([7.0, 8.0])
    monkeypatch.setattr(timing, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(timing.time, "process_time", lambda: next(own))
    block = Stopwatch(lambda: 0.0).block()
    assert block.others == pytest.approx(0.5 / block.seconds)
    assert block.processor == 1.0


def test_peak_memory_remembers_what_was_given_back():
    before = peak_memory()
    if before is None:
        pytest.skip("this kernel has no /proc/self/status")
    assert 10 < before < 100_000
    block = bytearray(b"x") * (300 << 20)
    del block
    assert peak_memory() >= before
    assert peak_memory() > 300


@pytest.mark.parametrize(
    "arguments",
    [
        dict(blocks=0),
        dict(blocks=1.5),
        dict(blocks=True),
        dict(fetch_every=0),
        dict(fetch_every="2"),
        dict(seconds="1"),
        dict(seconds=float("nan")),
        dict(seconds=True),
        dict(synchronize=5),
    ],
)
def test_arguments_are_checked(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"^{name}=[^\n]*; give a (whole number from 1|number above 0|function)$"):
        measure(lambda: 0.0, **arguments)


def test_it_stands_alone():
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('timing', {timing.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(module.Stopwatch(lambda: 2.0).block().loss, 'fastvae' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2.0", "False", "False"]
