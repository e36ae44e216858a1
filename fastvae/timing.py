"""The one timing routine: a warm-up past compilation, then blocks of at least half a second, with the machine's load.

`measure(step)` times a training step. `Stopwatch` offers the same in pieces, for programs that are timed in turn. This
file imports nothing of fastvae: a program that must not import fastvae loads it by its path.

Examples
--------
>>> measurement = measure(lambda: sum(range(10_000)), blocks=2)
>>> 0.01 < measurement.milliseconds < 100
True
>>> all(block.seconds >= 0.5 for block in measurement.blocks)
True
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

SHORTEST = 0.5  # seconds; a shorter block would measure the timer interrupt and the scheduler
SETTLED = 0.9  # a warm-up block that takes more than this fraction of the previous one's time is the last
WARM_UP_BLOCKS = 20  # at most
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Block(NamedTuple):
    """Steps taken without a pause.

    Attributes
    ----------
    steps : int
    seconds : float
        What they took.
    loss : float
        The last one fetched.
    others : float or None
        Cores that other processes kept busy meanwhile; None if the kernel does not say.
    processor : float
        Processor time of this process in seconds, all threads together.
    """

    steps: int
    seconds: float
    loss: float
    others: float | None
    processor: float

    @property
    def milliseconds(self) -> float:
        """Milliseconds per step."""
        return 1000 * self.seconds / self.steps


class Measurement(NamedTuple):
    """Blocks of one program, and the settings that it ran with (see `Stopwatch.settings`)."""

    blocks: list[Block]
    settings: dict[str, Any]

    @property
    def milliseconds(self) -> float:
        """The median over the blocks of the milliseconds per step."""
        return statistics.median(block.milliseconds for block in self.blocks)

    @property
    def others(self) -> float | None:
        """Cores that other processes kept busy, the maximum over all blocks; None if the kernel does not say."""
        return max((block.others for block in self.blocks if block.others is not None), default=None)


class Stopwatch:
    """Times blocks of a training step.

    Parameters
    ----------
    step : callable
        Takes one step and returns the loss: a number, or anything that `float` turns into one.
    synchronize : callable, optional
        Waits until the device has finished all its work; called before and after every block.
    fetch_every : int, optional
        Steps from one fetch of the loss to the next. A fetch makes the host wait for the device, so figures measured
        with different intervals are not comparable.

    Raises
    ------
    ValueError
        If an argument is invalid.

    Notes
    -----
    Not for the time of a single operation of microseconds: the loop's own cost is about 0.2 microseconds a step.

    Examples
    --------
    >>> stopwatch = Stopwatch(lambda: 1.5)
    >>> stopwatch.block().loss
    1.5
    """

    def __init__(
        self, step: Callable[[], Any], synchronize: Callable[[], object] | None = None, fetch_every: int = 1
    ) -> None:
        if not callable(step) or not (synchronize is None or callable(synchronize)):
            name, value = ("synchronize", synchronize) if callable(step) else ("step", step)
            raise ValueError(f"{name}={value!r} cannot be called; give a function")
        _check_whole("fetch_every", fetch_every)
        self.step = step
        self.synchronize = synchronize or (lambda: None)
        self.fetch_every = fetch_every

    def warm_up(self) -> list[Block]:
        """Take steps until they no longer get faster: past compilation, autotuning and cold caches.

        Returns
        -------
        list of Block
            The blocks of the warm-up, at least two and at most 20.
        """
        blocks = [self.block()]
        while len(blocks) < WARM_UP_BLOCKS:
            blocks.append(self.block())
            before, now = (block.milliseconds for block in blocks[-2:])
            if now > SETTLED * before:
                break
        return blocks

    def block(self, seconds: float = SHORTEST) -> Block:
        """Take steps for `seconds`, but for half a second at least.

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

    def settings(self) -> dict[str, Any]:
        """What the figures depend on besides the program.

        Returns
        -------
        dict
            `fetch_every`; `cores`, how many this process may use; `threads`, the environment variables that set the
            sizes of thread pools.
        """
        threads = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
        return {"fetch_every": self.fetch_every, "cores": len(os.sched_getaffinity(0)), "threads": threads}


def measure(
    step: Callable[[], Any],
    blocks: int = 5,
    seconds: float = SHORTEST,
    synchronize: Callable[[], object] | None = None,
    fetch_every: int = 1,
) -> Measurement:
    """Warm up, then time a training step.

    Parameters
    ----------
    step : callable
        See `Stopwatch`.
    blocks : int
        How many blocks to time.
    seconds : float
        Length of a block, half a second at least.
    synchronize, fetch_every
        See `Stopwatch`.

    Returns
    -------
    Measurement

    Raises
    ------
    ValueError
        If an argument is invalid.

    Notes
    -----
    Not for comparing two programs on a machine that others use too: time those in turn (`bench/measure.py`).

    Examples
    --------
    >>> measure(lambda: 1.0, blocks=1).settings["fetch_every"]
    1
    """
    _check_whole("blocks", blocks)
    stopwatch = Stopwatch(step, synchronize, fetch_every)
    stopwatch.warm_up()
    return Measurement([stopwatch.block(seconds) for _ in range(blocks)], stopwatch.settings())


def peak_memory() -> float | None:
    """The largest resident set size (RSS) that this process has had, in MiB; None if the kernel does not say.

    It is VmHWM of /proc: `resource.getrusage` would also count what the parent had at the moment of the fork.

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


def _check_whole(name: str, value: int) -> None:
    """Raise ValueError unless a value is a whole number from 1 on; without `fastvae.kinds`, see the module."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r} is not a count; give a whole number from 1")


class _Load:
    """Processor time since this object was made, of the other processes and of this one."""

    def __init__(self) -> None:
        self.machine, self.own = _busy_seconds(), time.process_time()

    def since(self, elapsed: float) -> tuple[float | None, float]:
        """Cores that other processes kept busy (None if the kernel does not say), and this process's own seconds."""
        own, machine = time.process_time() - self.own, _busy_seconds()
        if self.machine is None or machine is None:
            return None, own
        return max(0.0, (machine - self.machine - own) / elapsed), own


def _busy_seconds() -> float | None:
    """Seconds that all cores of the machine together have been busy; None if the kernel does not say."""
    try:
        with open("/proc/stat") as lines:
            user, nice, system, _, _, irq, softirq, steal = map(int, lines.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
