"""The errors that fastvae raises for something the user can mend.

The command line prints any of them as one line and ends with exit status 2.
"""


class FastvaeError(Exception):
    """Root of fastvae's errors: a message that says what was tried, what was found and the remedy."""


class StackError(FastvaeError, ImportError):
    """The stack below fastvae (theano, pymc3, g++, Python's headers, BLAS) cannot be used."""


class ProfileError(FastvaeError, ValueError):
    """A device profile is unknown, contradictory, or asks for something this machine lacks."""


class DataError(FastvaeError, ValueError):
    """A data file or array cannot be read as images or labels."""


class CheckpointError(DataError):
    """The checkpoint after `.step` cannot be written; those before it stay."""

    def __init__(self, message, step):
        super().__init__(message)
        self.step = step


class ConfigurationError(FastvaeError, ValueError):
    """An argument of a model, a fit or a command is out of its domain."""


class OutOfMemoryError(FastvaeError, MemoryError):
    """The memory of the machine or of its GPU does not suffice; the message says what to lower."""


class BenchmarkError(FastvaeError, RuntimeError):
    """A comparison has no figure: a program failed, or two that should compute the same do not."""


class NonFiniteError(FastvaeError, FloatingPointError):
    """A loss or a parameter became NaN or infinite; `.approx` holds what was trained and its history."""

    def __init__(self, message, approx):
        super().__init__(message)
        self.approx = approx
