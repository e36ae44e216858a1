"""Early stopping: the fit ends when the held-out ELBO has not become better for a while.

See Prechelt, 1998, "Early stopping - but when?" (its UP criterion, with any best before).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Sequence

from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.training.loop import Loop
    from fastvae.training.parts.best import Best
    from fastvae.training.parts.held_out import HeldOut


class Patience(Part):
    """Ends the fit as ``"patience"`` and gives the parameters back the values that they had at the best measurement.

    Parameters
    ----------
    patience : int
        At least 1; see `is_over`.
    held_out : fastvae.training.parts.held_out.HeldOut
    best : fastvae.training.parts.best.Best
        Both come before it in the order.
    """

    needs_newest = True

    def __init__(self, patience: int, held_out: HeldOut, best: Best) -> None:
        self.patience, self.held_out, self.best = patience, held_out, best

    def is_over(self, elbos: Sequence[float]) -> bool:
        """Whether the last `patience` ELBOs of a list (of at least one) were no better than the best before them."""
        best = max(elbos, key=lambda elbo: -math.inf if math.isnan(elbo) else elbo)
        return len(elbos) - 1 - elbos.index(best) >= self.patience

    def after_step(self, run: Loop, step: Step) -> None:
        if "held_out_elbo" in step.measured and self.is_over([elbo for _, elbo in self.held_out.measured]):
            run.end("patience", agreed=True)

    def finish(self, run: Loop) -> None:
        if run.approx.ended_by == "patience":
            self.best.give_back()
