"""The one timing routine: warm-up past compilation, blocks of at least half a second, and what else was running.

`measure(step)` times a training step. `Stopwatch` is the same in pieces, for programs that are timed in turn. This file
stands alone: a program that must not import fastvae loads it by its path.

Examples
--------
>>> measurement = measure(lambda: sum(range(10_000)), blocks=2)
>>> 0.01 < measurement.milliseconds < 100
True
>>> all(block.seconds >= 0.5 for block in measurement.blocks)
True
"""

import os
import statistics
import time
from typing import NamedTuple

SHORTEST = 0.5  # seconds: a shorter block measures the timer interrupt and the scheduler
SETTLED = 0.9  # a warm-up block that takes more than this share of the one before it ends the warm-up
WARM_UP_BLOCKS = 20  # at most
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Block(NamedTuple):
    """Steps taken without a pause.

    `steps` were taken in `seconds`; `loss` is the last one fetched; `others` is the number of cores that other
    processes kept busy meanwhile, None where the kernel does not say; `processor` the processor time of this process in
    seconds, all threads together.
    """

    steps: int
    seconds: float
    loss: float
    others: float | None
    processor: float

    @property
    def milliseconds(self):
        """Milliseconds a step."""
        return 1000 * self.seconds / self.steps


class Measurement(NamedTuple):
    """Blocks of one program, and the settings that it ran with (see `Stopwatch.settings`)."""

    blocks: list
    settings: dict

    @property
    def milliseconds(self):
        """Median over the blocks of the milliseconds a step."""
        return statistics.median(block.milliseconds for block in self.blocks)

    @property
    def others(self):
        """Cores that other processes kept busy, the largest of all blocks; None where the kernel does not say."""
        return max((block.others for block in self.blocks if block.others is not None), default=None)


class Stopwatch:
    """Times blocks of a training step.

    Parameters
    ----------
    step : callable
        Takes one step and returns the loss: a number, or anything that `float` fetches one from.
    synchronize : callable, optional
        Waits until the device has done all it was given; called before and after every block.
    fetch_every : int, optional
        Steps from one fetch of the loss to the next. A fetch makes the host wait for the device, so figures with
        different intervals do not compare.

    Raises
    ------
    ValueError
        If an argument is out of its domain.

    Notes
    -----
    Not for the time of a single operation of microseconds: the loop's own cost is about 0.2 microseconds a step.

    Examples
    --------
    >>> stopwatch = Stopwatch(lambda: 1.5)
    >>> stopwatch.block().loss
    1.5
    """

    def __init__(self, step, synchronize=None, fetch_every=1):
        if not callable(step) or not (synchronize is None or callable(synchronize)):
            name, value = ("synchronize", synchronize) if callable(step) else ("step", step)
            raise ValueError(f"{name}={value!r} cannot be called; give a function")
        _check_whole("fetch_every", fetch_every)
        self.step = step
        self.synchronize = synchronize or (lambda: None)
        self.fetch_every = fetch_every

    def warm_up(self):
        """Take steps until they are no longer getting quicker: past compilation, autotuning and cold caches.

        Returns
        -------
        list of Block
            The blocks of the warm-up, of which there are at least two and at most 20.
        """
        blocks = [self.block()]
        while len(blocks) < WARM_UP_BLOCKS:
            blocks.append(self.block())
            before, now = (block.milliseconds for block in blocks[-2:])
            if now > SETTLED * before:
                break
        return blocks

    def block(self, seconds=SHORTEST):
        """Take steps for `seconds`, at least half a second of them.

        Returns
        -------
        Block
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
            raise ValueError(f"seconds={seconds!r} is not a length of time; give a number above 0")
        seconds = max(seconds, SHORTEST)
        loss, steps, value = float("nan"), 0, None
        self.synchronize()
        load = _Load()
        started = time.perf_counter()
        while True:
            value = self.step()
            steps += 1
            if steps % self.fetch_every == 0:
                loss = float(value)
                if time.perf_counter() - started >= seconds:
                    break
        self.synchronize()
        elapsed = time.perf_counter() - started
        return Block(steps, elapsed, loss, *load.since(elapsed))

    def settings(self):
        """What the figures depend on besides the program.

        Returns
        -------
        dict
            `fetch_every`; `cores` that this process may use; `threads`: the variables of the environment that set
            thread pools, by name.
        """
        threads = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
        return {"fetch_every": self.fetch_every, "cores": len(os.sched_getaffinity(0)), "threads": threads}


def measure(step, blocks=5, seconds=SHORTEST, synchronize=None, fetch_every=1):
    """Warm up, then time a training step.

    Parameters
    ----------
    step, synchronize, fetch_every
        See `Stopwatch`.
    blocks : int
        Blocks to time.
    seconds : float
        Length of a block, at least half a second.

    Returns
    -------
    Measurement

    Raises
    ------
    ValueError
        If an argument is out of its domain.

    Notes
    -----
    Not for a comparison of two programs on a machine that others use too: time them in turn (`bench/measure.py`).

    Examples
    --------
    >>> measure(lambda: 1.0, blocks=1).settings["fetch_every"]
    1
    """
    _check_whole("blocks", blocks)
    stopwatch = Stopwatch(step, synchronize, fetch_every)
    stopwatch.warm_up()
    return Measurement([stopwatch.block(seconds) for _ in range(blocks)], stopwatch.settings())


def peak_memory():
    """The most memory that this process has had resident, in MiB; None where the kernel does not say.

    From VmHWM: `resource.getrusage` would count the parent's memory at the moment of the fork as well.

    Examples
    --------
    >>> peak_memory() is None or peak_memory() > 1
    True
    """
    try:
        with open("/proc/self/status") as lines:
            return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
    except OSError:
        return None


def _check_whole(name, value):
    """This file stands alone, so its checks do too: `fastvae.kinds` cannot be imported here."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r} is no number to count with; give a whole number from 1")


class _Load:
    """Processor time from its making on: the machine's, less this process's own."""

    def __init__(self):
        self.machine, self.own = _busy_seconds(), time.process_time()

    def since(self, elapsed):
        """Cores that other processes kept busy, or None, and seconds of this process's own."""
        own = time.process_time() - self.own
        if self.machine is None:
            return None, own
        return max(0.0, (_busy_seconds() - self.machine - own) / elapsed), own


def _busy_seconds():
    """Seconds that the machine's cores have been busy, all together; None where the kernel does not say."""
    try:
        with open("/proc/stat") as lines:
            user, nice, system, _, _, irq, softirq, steal = map(int, lines.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
