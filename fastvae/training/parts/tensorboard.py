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
        try:
            self._writer = importlib.import_module("tensorboard.summary.writer.event_file_writer")
            self._event = importlib.import_module("tensorboard.compat.proto.event_pb2")
            self._summary = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        except ImportError as error:
            raise ConfigurationError(
                f"fit: log_dir={self.folder!r} needs TensorBoard, which cannot be imported ({error}): "
                "pip install 'fastvae[tensorboard]', or leave log_dir out"
            ) from error

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
