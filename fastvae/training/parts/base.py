"""The protocol of a part of a run: what happens around the steps of a training, one concern a class.

The loop (`fastvae.training.loop`) takes the steps and calls the parts; it knows none of them by name.

    restore(state)          what `state()` returned when the checkpoint was written, if the run is resumed from one
    check(run)              before anything begins: raise what would otherwise end the run later
    enter(run)              open files, start clocks
    accept(run, step)       after every step, before its loss is recorded: raise if it must not be
    after_step(run, step)   after every step
    finish(run)             after the last step, unless an error ended the run
    exit(run, error)        at the very end, whatever ended the run

Within each phase the parts come in one order (`fastvae.training.parts.assemble`), in `exit` in the reverse one.

Losses may stay on the device for some steps until they are fetched together. `after_step` is then called late for all
of these steps but the newest, when the parameters have moved on. A part that reads parameters says `needs_newest`, and
is called only where they are those after the step; `due_in` makes sure that this happens at the steps that matter.

Examples
--------
>>> class Lowest(Part):
...     "Ends a fit whose loss has gone below a threshold; remembers the lowest loss in the checkpoints."
...     def __init__(self, threshold):
...         self.threshold, self.lowest = threshold, float("inf")
...     def after_step(self, run, step):
...         self.lowest = min(self.lowest, step.loss)
...         if self.lowest < self.threshold:
...             run.end("low enough")
...     def state(self):
...         return {"lowest": self.lowest}
...     def restore(self, state):
...         self.lowest = float(state["lowest"])
>>> import fastvae, numpy as np
>>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
>>> images = np.zeros((20, 1, 4, 4), "float32")
>>> approx = vae.fit(images, n=50, batch_size=5, seed=1, progressbar=False, parts=[Lowest(1e6)])
>>> approx.ended_by, len(approx.hist)
('low enough', 1)
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastvae.training.loop import Loop


@dataclasses.dataclass
class Step:
    """A step that was taken, as parts see it.

    Attributes
    ----------
    number : int
        From 1, the steps before a resumed run included.
    loss : float
        Nats per minibatch; NaN for a step that was skipped.
    newest : bool
        Whether the parameters are those after this step.
    measured : dict of str to float
        What parts earlier in the order measured after it, such as ``"held_out_elbo"`` (nats per row).
    """

    number: int
    loss: float
    newest: bool
    measured: dict[str, float] = dataclasses.field(default_factory=dict)


class Part:
    """A part that does nothing: subclass it, override what is needed, and pass instances as ``fit(..., parts=[...])``.

    An instance belongs to one fit. `run` is the `fastvae.training.loop.Loop`: `run.approx`, `run.params` (the trained
    shared variables), `run.n` (steps in all), `run.done` (steps taken), `run.losses` (float64, one for each of them),
    and ``run.end(reason)``, which lets it take no further step and makes `reason` its ``approx.ended_by``.
    StopIteration raised in `after_step` does the same, as in PyMC3's callbacks, and parts later in the order do not see
    that step. Where losses are fetched for several steps at once, those steps have been taken and still count: a part
    that must end the fit at a certain step says so by `due_in`.

    Attributes
    ----------
    name : str
        Under which checkpoints keep the state, by default the name of the class; unique in a run.
    needs_newest : bool
        Whether `after_step` is called only where the parameters are those after the step.
    """

    name: str = "Part"
    needs_newest: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def due_in(self, done: int) -> int | None:
        """Steps from `done` on until it has to see the newest parameters (at least 1), or None for never."""
        return None

    def check(self, run: Loop) -> None:
        """Raise what would end the run later."""

    def enter(self, run: Loop) -> None:
        """Begin."""

    def accept(self, run: Loop, step: Step) -> None:
        """Raise if a step must not count; its loss is then not recorded."""

    def after_step(self, run: Loop, step: Step) -> None:
        """Do what follows a step."""

    def finish(self, run: Loop) -> None:
        """Do what follows the last step; ``run.approx.ended_by`` says why it was the last."""

    def exit(self, run: Loop, error: BaseException | None) -> None:
        """Close what `enter` opened, if the run came to that; `error` is what ended the run, if an error did."""

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint is to keep: a dict of JSON values and numpy arrays, or None for nothing."""
        return None

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; raise KeyError, TypeError or ValueError if it is none."""
