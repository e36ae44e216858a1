"""A loss or a parameter that is not finite ends the run, with the step, the parameter and the last good state named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae.training import nonfinite
from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.checkpoint import Checkpoints
    from fastvae.training.loop import Loop


class Finite(Part):
    """Raises NonFiniteError.

    Parameters
    ----------
    skip : bool
        Whether a step whose loss is not finite has changed nothing, so that the run goes on.
    checkpoints : fastvae.checkpoint.Checkpoints, optional
        To name the last one.
    """

    def __init__(self, skip: bool = False, checkpoints: Checkpoints | None = None) -> None:
        self.skip, self.checkpoints = skip, checkpoints

    def check(self, run: Loop) -> None:
        """Raise if a parameter is not finite."""
        if nonfinite.first_bad(run.params) is not None:
            raise self._error(run, "a parameter stopped being finite", run.done)

    def accept(self, run: Loop, step: Step) -> None:
        if not (np.isfinite(step.loss) or self.skip):
            raise self._error(run, f"the loss became {step.loss}", step.number)

    def finish(self, run: Loop) -> None:
        self.check(run)

    def _error(self, run, what, step):
        last_good = None if self.checkpoints is None else self.checkpoints.last
        return nonfinite.error(what, step, run.params, run.approx, last_good)
