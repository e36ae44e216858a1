"""Ctrl-C and SIGTERM: a training ends between two steps, or at once while it waits for data; elsewhere they raise."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Callable, Iterator, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_blocks: list[list[signal.Signals]] = []  # what each `after_the_step` of the main thread has caught, the innermost last


class Interrupted(KeyboardInterrupt):
    """`.signal` came while a training waited."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


@contextlib.contextmanager
def after_the_step() -> Iterator[Callable[[], signal.Signals | None]]:
    """Turn Ctrl-C and SIGTERM into a value for the block: yields a callable that returns the signal, or None.

    Outside the main thread Python delivers no signal, and it stays None; a signal that the process ignores (as a
    background job of a shell ignores Ctrl-C) is left ignored.

    Examples
    --------
    >>> with after_the_step() as interrupted:
    ...     print(interrupted())
    None
    """
    caught = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, lambda number, frame: caught.append(signal.Signals(number)))
        _blocks.append(caught)
    try:
        yield lambda: caught[0] if caught else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if threading.current_thread() is threading.main_thread():
            _blocks.pop()


def while_waiting() -> None:
    """Raise `Interrupted` if a signal has come: to be called again and again by what waits inside `after_the_step`.

    Examples
    --------
    >>> while_waiting()  # no signal has come
    """
    if _blocks and _blocks[-1] and threading.current_thread() is threading.main_thread():
        raise Interrupted(_blocks[-1][0])


class Terminated(KeyboardInterrupt):
    """SIGTERM came outside a training."""


@contextlib.contextmanager
def termination_raises() -> Iterator[None]:
    """Make SIGTERM raise `Terminated` within the block, so that the process ends in order (main thread only)."""

    def terminate(number: int, frame: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
