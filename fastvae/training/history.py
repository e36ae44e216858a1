"""The history of a run as a CSV file that grows while it trains, so that a crash keeps it.

    iteration,loss,elbo_per_image,held_out_elbo_per_image

The loss is in nats per minibatch; ELBOs are in nats and empty where there is none (an unknown batch size, a step
without a look at held-out images).

Examples
--------
>>> import os, tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "history.csv")
>>> with History(path, batch_size=2) as history:
...     history.append(1, 8.0)
...     history.append(2, 6.0, held_out_elbo=-3.5)
>>> read(path)
[8.0, 6.0]
>>> import pathlib
>>> print(pathlib.Path(path).read_text().splitlines()[-1])
2,6.0,-3.0,-3.5
"""

from __future__ import annotations

import contextlib
import csv
import os
import time
from typing import Any, Iterable, Sequence

from fastvae import atomic, locks
from fastvae.errors import DataError
from fastvae.files import open_regular
from fastvae.messages import LOGGER

HISTORY = "history.csv"  # its name in the folder of a run
HEADER = "iteration,loss,elbo_per_image,held_out_elbo_per_image\n"
WRITE_EVERY = 1.0  # seconds


class History:
    """A CSV file of losses, kept up to date inside a `with` block.

    Parameters
    ----------
    path : str or path-like
        Replaced, or for a resumed run written again up to the step from which that goes on.
    batch_size : int, optional
        Images in a minibatch.
    losses : sequence of float
        Of the steps before.
    held_out : sequence of (int, float)
        Step and ELBO per image of the evaluations before.

    Raises
    ------
    ConfigurationError
        If another run writes the file.
    DataError
        If the file cannot be begun, or still not be written at the end.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        batch_size: int | None = None,
        losses: Sequence[float] = (),
        held_out: Iterable[tuple[int, float]] = (),
    ) -> None:
        self.path, self.batch_size = os.fspath(path), batch_size
        self._past = losses, dict(held_out)
        self._rows: list[str] = []
        self._written, self._said = time.monotonic(), False

    def __enter__(self) -> History:
        losses, held_out = self._past
        for i, loss in enumerate(losses, start=1):
            self._rows.append(self._row(i, loss, held_out.get(i)))
        with contextlib.ExitStack() as on_error:
            try:
                self._lock = on_error.enter_context(locks.Lock(atomic.target(self.path), f"history={self.path!r}"))
                with atomic.replacing(self.path) as file:
                    file.write((HEADER + "".join(self._rows)).encode())
            except OSError as error:
                raise self._unwritable(error) from error
            on_error.pop_all()
        self._rows.clear()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        with self._lock:
            try:
                self.write()
            except OSError as failure:
                if error is None:
                    raise self._unwritable(failure) from failure
                self._say(failure)

    def append(self, iteration: int, loss: float, held_out_elbo: float | None = None) -> None:
        """Add a step; at most a second later it is in the file, or kept for the next try and the trouble said."""
        self._rows.append(self._row(iteration, loss, held_out_elbo))
        now = time.monotonic()
        if now - self._written >= WRITE_EVERY:
            self._written = now
            try:
                self.write()
            except OSError as failure:
                self._say(failure)

    def write(self) -> None:
        """Put what is not yet in the file there, whole or (OSError) not at all."""
        rows = memoryview("".join(self._rows).encode())
        with open(self.path, "ab", buffering=0) as file:
            end = file.tell()
            try:
                while rows:
                    rows = rows[file.write(rows) :]
            except OSError:
                file.truncate(end)
                raise
        self._rows.clear()

    def _say(self, failure):
        if not self._said:
            LOGGER.warning(f"fastvae: {self._unwritable(failure)}")
        self._said = True

    def _row(self, iteration, loss, held_out_elbo):
        loss = float(loss)
        elbo = "" if self.batch_size is None else -loss / self.batch_size
        return f"{iteration},{loss},{elbo},{'' if held_out_elbo is None else held_out_elbo}\n"

    def _unwritable(self, error):
        return DataError(f"{self.path}: cannot be written ({error.strerror}): make room or give a writable folder")


def read(path: str | os.PathLike) -> list[float]:
    """The losses in a history, as a list of floats; a last line that a kill cut short is left out.

    Raises
    ------
    DataError
        If it cannot be read or is not such a file.
    """
    return [row[0] for row in _read(path)]


def read_held_out(path: str | os.PathLike) -> list[tuple[int, float]]:
    """Step and held-out ELBO per image of each measurement in a history; errors as for `read`."""
    return [(step, elbo) for step, (_, elbo) in enumerate(_read(path), start=1) if elbo is not None]


def _read(path: str | os.PathLike) -> list[tuple[float, float | None]]:
    """The loss of each step, and the held-out ELBO after it if that was measured."""
    try:
        with open_regular(path) as file:
            lines = file.read().decode("utf-8").splitlines(keepends=True)
        rows = list(csv.DictReader(line for line in lines if line.endswith("\n")))
        if any(int(row["iteration"]) != number for number, row in enumerate(rows, start=1)):
            raise ValueError("its iterations do not count from 1")
        elbos = [row.get("held_out_elbo_per_image") for row in rows]
        return [(float(row["loss"]), float(elbo) if elbo else None) for row, elbo in zip(rows, elbos)]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{str(path)!r} is not a history of losses ({error}); restore what the run wrote") from error
