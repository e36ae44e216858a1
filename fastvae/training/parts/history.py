"""The history of a run as a CSV file (`fastvae.training.history`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastvae.training.history import History as File
from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.training.loop import Loop
    from fastvae.training.parts.held_out import HeldOut


class History(Part):
    """Writes every loss into a CSV file while the run goes on.

    Parameters
    ----------
    path : str or path-like
    batch_size : int, optional
        Images in a minibatch.
    held_out : fastvae.training.parts.held_out.HeldOut
        Whose measurements stand beside the losses.
    """

    def __init__(self, path: str | os.PathLike, batch_size: int | None, held_out: HeldOut) -> None:
        self.path, self.batch_size, self.held_out = path, batch_size, held_out
        self.file: File | None = None

    def enter(self, run: Loop) -> None:
        self.file = File(self.path, self.batch_size, run.losses, self.held_out.measured).__enter__()

    def after_step(self, run: Loop, step: Step) -> None:
        self.file.append(step.number, step.loss, step.measured.get("held_out_elbo"))

    def exit(self, run: Loop, error: BaseException | None) -> None:
        if self.file is not None:
            self.file.__exit__(type(error), error, None)
