"""Progress of a run on the standard error (`fastvae.training.progress`)."""

from __future__ import annotations

from fastvae.training.parts.base import Part
from fastvae.training.progress import Progress as Display


class Progress(Part):
    """Shows steps, speed, loss and the last held-out ELBO.

    Parameters
    ----------
    batch_size : int, optional
        Images in a minibatch, with which the ELBO per image is shown in place of the loss.
    """

    def __init__(self, batch_size=None):
        self.batch_size, self.display = batch_size, None

    def enter(self, run):
        self.display = Display(run.n, self.batch_size, done=run.done).__enter__()

    def after_step(self, run, step):
        self.display.update(step.number, run.losses, step.measured.get("held_out_elbo"))

    def finish(self, run):
        self._close()  # so that nothing is said on its line

    def exit(self, run, error):
        self._close()

    def _close(self):
        if self.display is not None:
            self.display.__exit__(None, None, None)
            self.display = None
