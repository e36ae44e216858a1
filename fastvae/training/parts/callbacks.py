"""PyMC3's callbacks, and `inference.refine`, whose loop goes on from where the run ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Iterable

from pymc3.variational.inference import State

from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.training.loop import Loop


class Callbacks(Part):
    """Calls ``callback(approx, losses so far, step number from 1)`` after every step.

    Parameters
    ----------
    callbacks : list of callable
        StopIteration ends the fit. Without a score they get None in place of the losses.
    """

    needs_newest = True

    def __init__(self, callbacks: Iterable[Callable] = ()) -> None:
        self.callbacks = list(callbacks)

    def due_in(self, done: int) -> int | None:
        return 1 if self.callbacks else None

    def after_step(self, run: Loop, step: Step) -> None:
        for callback in self.callbacks:
            callback(run.approx, run.losses if run.score else None, step.number)

    def exit(self, run: Loop, error: BaseException | None) -> None:
        run.inference.state = State(run.done - 1, step=run.one_step, callbacks=self.callbacks, score=run.score)
