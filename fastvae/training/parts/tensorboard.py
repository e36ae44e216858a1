"""Losses and held-out ELBOs as event files, which TensorBoard shows while the run goes on.

The tags are ``elbo/training`` and ``elbo/held_out``, in nats per image; without a batch size ``loss`` is that of a
minibatch. The writer is TensorBoard's own. A resumed run adds a file, and TensorBoard then shows no step twice.
"""

from __future__ import annotations

import importlib
import math
import os
from typing import TYPE_CHECKING, Any

from fastvae.errors import ConfigurationError
from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.training.loop import Loop


def modules(folder: str | os.PathLike) -> tuple[Any, Any, Any]:
    """TensorBoard's modules of the writer, of events and of summaries.

    Raises
    ------
    ConfigurationError
        If it is not installed; the message names the folder that was to be written.
    """
    names = ("summary.writer.event_file_writer", "compat.proto.event_pb2", "compat.proto.summary_pb2")
    try:
        writer, event, summary = (importlib.import_module(f"tensorboard.{name}") for name in names)
    except ImportError as error:
        raise ConfigurationError(
            f"fit: log_dir={os.fspath(folder)!r} needs TensorBoard, which cannot be imported ({error}): "
            "pip install 'fastvae[tensorboard]', or leave log_dir out"
        ) from error
    return writer, event, summary


class TensorBoard(Part):
    """Writes an event for every loss that is finite, and for every measured held-out ELBO.

    Parameters
    ----------
    folder : str or path-like
    batch_size : int, optional
        Images in a minibatch.

    Raises
    ------
    ConfigurationError
        At the start of the run, if TensorBoard is not installed or the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike, batch_size: int | None = None) -> None:
        self.folder, self.batch_size = os.fspath(folder), batch_size
        self.file: Any = None

    def check(self, run: Loop) -> None:
        self._writer, self._event, self._summary = modules(self.folder)

    def enter(self, run: Loop) -> None:
        try:
            os.makedirs(self.folder, exist_ok=True)
            self.file = self._writer.EventFileWriter(self.folder)
        except OSError as error:
            raise ConfigurationError(
                f"fit: log_dir={self.folder!r} cannot be written ({error.strerror}): give a folder that can"
            ) from error
        if run.done:  # what a run before this one wrote of later steps is void
            start = self._event.SessionLog(status=self._event.SessionLog.START)
            self.file.add_event(self._event.Event(session_log=start, step=run.done + 1))

    def after_step(self, run: Loop, step: Step) -> None:
        if self.batch_size is None:
            self._add("loss", step.number, step.loss)
        else:
            self._add("elbo/training", step.number, -step.loss / self.batch_size)
        if "held_out_elbo" in step.measured:
            self._add("elbo/held_out", step.number, step.measured["held_out_elbo"])

    def exit(self, run: Loop, error: BaseException | None) -> None:
        if self.file is not None:
            self.file.close()

    def _add(self, tag: str, number: int, value: float) -> None:
        if math.isfinite(value):
            summary = self._summary.Summary(value=[self._summary.Summary.Value(tag=tag, simple_value=float(value))])
            self.file.add_event(self._event.Event(summary=summary, step=number))
