"""The held-out ELBO every so many steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.training.loop import Loop


class HeldOut(Part):
    """Measures, and leaves what was measured on the approximation: `.held_out_hist`.

    Parameters
    ----------
    elbo : callable, optional
        Returns the ELBO in nats per row, a float: `fastvae.training.held_out.HeldOutElbo`. Without it nothing is
        measured, and the measurements of a resumed run are kept.
    every : int
        Steps from one measurement to the next.

    Attributes
    ----------
    measured : list of (int, float)
        Step and ELBO.
    """

    name = "held_out"
    needs_newest = True

    def __init__(self, elbo: Callable[[], float] | None = None, every: int = 1_000) -> None:
        self.elbo, self.every, self.measured = elbo, every, []

    def due_in(self, done: int) -> int | None:
        return None if self.elbo is None else self.every - done % self.every

    def after_step(self, run: Loop, step: Step) -> None:
        if self.elbo is not None and step.number % self.every == 0:
            step.measured["held_out_elbo"] = self.elbo()
            self.measured.append((step.number, step.measured["held_out_elbo"]))

    def exit(self, run: Loop, error: BaseException | None) -> None:
        run.approx.held_out_hist = np.array(self.measured, dtype=np.float64).reshape(-1, 2)

    def state(self) -> dict[str, Any] | None:
        return {"measured": self.measured}

    def restore(self, state: dict[str, Any]) -> None:
        self.measured = [(int(step), float(elbo)) for step, elbo in state["measured"]]
