"""What fastvae says while it works goes through the logger ``"fastvae"`` of Python's `logging`.

Warnings are on the level WARNING, what a run does unasked (such as which profile it took) on INFO, and where the time
goes on DEBUG. They go to the standard error unless the root logger writes there already, so a program that calls
`logging.basicConfig` sees them once, in its own form. ``logging.getLogger("fastvae").setLevel("WARNING")`` silences the
rest; ``fastvae --quiet`` does that, and ``fastvae -v`` shows DEBUG.

Examples
--------
>>> logging.getLogger("fastvae").level == logging.INFO
True
"""

from __future__ import annotations

import logging
import sys

LOGGER = logging.getLogger("fastvae")


class StandardError(logging.Handler):
    """Writes messages to what is the standard error at that time, unless a handler of the root logger does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        streams = [getattr(handler, "stream", None) for handler in logging.getLogger().handlers]
        if sys.stderr is not None and sys.stderr not in streams:
            print(self.format(record), file=sys.stderr, flush=True)


def say(message: str) -> None:
    """Log a line that users should see, but need not act on."""
    LOGGER.info(message)


def set_up() -> None:
    """Give the logger its handler and, unless a program has chosen one, its level."""
    if not any(isinstance(handler, StandardError) for handler in LOGGER.handlers):
        LOGGER.addHandler(StandardError())
    if LOGGER.level == logging.NOTSET:
        LOGGER.setLevel(logging.INFO)


set_up()
