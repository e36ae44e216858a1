"""Ctrl-C between two steps, never inside one, so that no parameter is left half updated."""
import contextlib
import signal
import threading


@contextlib.contextmanager
def after_the_step():
    """Turn Ctrl-C into a flag for the block: yields a callable that tells whether it was pressed.

    Outside the main thread Python delivers no signal, and the flag stays down.

    Examples
    --------
    >>> with after_the_step() as interrupted:
    ...     interrupted()
    False
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
