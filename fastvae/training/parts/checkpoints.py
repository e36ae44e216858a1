"""Checkpoints of a run: before the first step, every so many steps, and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.checkpoint import Checkpoints as Folder
    from fastvae.training.loop import Loop
    from fastvae.training.parts.finite import Finite


class Checkpoints(Part):
    """Writes the state of the run, once its parameters are known to be finite.

    Parameters
    ----------
    folder : fastvae.checkpoint.Checkpoints
        Bound to the compiled step and to the parts of the run.
    finite : fastvae.training.parts.finite.Finite
        Comes before it in the order.
    """

    needs_newest = True

    def __init__(self, folder: Folder, finite: Finite) -> None:
        self.folder, self.finite = folder, finite

    def due_in(self, done: int) -> int | None:
        return self.folder.every - done % self.folder.every

    def check(self, run: Loop) -> None:
        self._save(run)  # a folder that cannot be written is known before the first step

    def after_step(self, run: Loop, step: Step) -> None:
        if self.folder.due(step.number) and np.isfinite(step.loss):
            self.finite.check(run)
            self._save(run)

    def finish(self, run: Loop) -> None:
        self._save(run)

    def exit(self, run: Loop, error: BaseException | None) -> None:
        self.folder.release()

    def _save(self, run):
        if self.folder.saved != run.done:
            self.folder.save(run.done, run.losses)
