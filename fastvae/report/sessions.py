"""The sessions of a run: when and where it trained, from which step to which, and how long what took.

A run has one, and one more each time that it is resumed. They are kept in the run's folder, a list of JSON objects.

Examples
--------
>>> import tempfile
>>> folder = pathlib.Path(tempfile.mkdtemp())
>>> add(folder, {"steps": [0, 20]})
>>> add(folder, {"steps": [20, 40]})
>>> [session["steps"] for session in read(folder)]
[[0, 20], [20, 40]]
"""

from __future__ import annotations

import json
import pathlib
import platform
import time
from typing import Any

from fastvae import __version__, atomic
from fastvae.errors import DataError
from fastvae.files import open_regular

SESSIONS = "sessions.json"


class Clock:
    """Divides the time since it was made into phases.

    Examples
    --------
    >>> clock = Clock()
    >>> clock.lap("compiling")
    >>> list(clock.seconds)
    ['compiling']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, phase: str) -> None:
        """Count the time since the last lap towards a phase."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now


def machine() -> dict[str, str]:
    """What a run depends on beside its options: processor, system and versions, by name."""
    import numpy
    import pymc3
    import theano

    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "fastvae": __version__,
        "theano": theano.__version__,
        "pymc3": pymc3.__version__,
        "numpy": numpy.__version__,
    }


def processor(about: str = "/proc/cpuinfo") -> str:
    """The processor's name, as the kernel gives it."""
    try:
        lines = pathlib.Path(about).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def add(folder: pathlib.Path, session: dict[str, Any]) -> None:
    """Add a session to those of a run.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    path = folder / SESSIONS
    text = json.dumps([*read(folder), session], indent=2) + "\n"
    try:
        with atomic.replacing(path) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be written: {error.strerror}; make room there") from error


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The sessions of a run; none if an older version trained it.

    Raises
    ------
    DataError
        If the file is no list of JSON objects.
    """
    path = folder / SESSIONS
    try:
        with open_regular(path) as file:
            found = json.loads(file.read().decode("utf-8"))
        if not isinstance(found, list) or not all(isinstance(session, dict) for session in found):
            raise ValueError("it is no list of objects")
        return found
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{str(path)!r} does not hold the sessions of a run ({error}): remove it") from error
