"""Progress of a run on the standard error (`fastvae.training.progress`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastvae.training.parts.base import Part, Step
from fastvae.training.progress import Progress as Display

if TYPE_CHECKING:
    from fastvae.training.loop import Loop


class Progress(Part):
    """Shows steps, speed, loss and the last held-out ELBO.

    Parameters
    ----------
    batch_size : int, optional
        Images in a minibatch, with which the ELBO per image is shown in place of the loss.
    """

    def __init__(self, batch_size: int | None = None) -> None:
        self.batch_size = batch_size
        self.display: Display | None = None

    def enter(self, run: Loop) -> None:
        self.display = Display(run.n, self.batch_size, done=run.done).__enter__()

    def after_step(self, run: Loop, step: Step) -> None:
        self.display.update(step.number, run.losses, step.measured.get("held_out_elbo"))

    def finish(self, run: Loop) -> None:
        self._close()  # so that nothing is said on its line

    def exit(self, run: Loop, error: BaseException | None) -> None:
        self._close()

    def _close(self):
        if self.display is not None:
            self.display.__exit__(None, None, None)
            self.display = None
