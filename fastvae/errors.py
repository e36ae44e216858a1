"""The errors that fastvae raises for something the user can put right.

The command line prints any of them as one line and ends with exit status 2.
"""

from __future__ import annotations

from typing import Any


class FastvaeError(Exception):
    """The base class of fastvae's errors: the message says what was tried, what was found and what to do."""


class StackError(FastvaeError, ImportError):
    """What fastvae stands on (theano, pymc3, g++, Python's headers, a BLAS) is missing or does not work."""


class ProfileError(FastvaeError, ValueError):
    """A device profile is unknown, contradictory, or asks for something this machine lacks."""


class DataError(FastvaeError, ValueError):
    """A data file or array cannot be read as images or labels."""


class CheckpointError(DataError):
    """The checkpoint after step `.step` cannot be written; earlier ones are kept."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.step)


class ConfigurationError(FastvaeError, ValueError):
    """An argument of a model, a fit or a command is invalid."""


class OutOfMemoryError(FastvaeError, MemoryError):
    """The machine or its GPU ran out of memory; the message says what to lower."""


class BenchmarkError(FastvaeError, RuntimeError):
    """A comparison gives no result: a program failed, or two that should compute the same do not."""


class NonFiniteError(FastvaeError, FloatingPointError):
    """A loss or a parameter became NaN or infinite; `.approx` is the approximation trained so far, with its history."""

    def __init__(self, message: str, approx: Any) -> None:
        super().__init__(message)
        self.approx = approx
