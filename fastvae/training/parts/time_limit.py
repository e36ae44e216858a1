"""A limit to the time that a training takes.

Examples
--------
>>> import fastvae, numpy as np
>>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
>>> images = np.zeros((20, 1, 4, 4), "float32")
>>> approx = vae.fit(images, n=10**9, batch_size=5, seed=1, progressbar=False, parts=[TimeLimit(0.5)])
>>> approx.ended_by, len(approx.hist) > 0
('time', True)
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastvae import kinds
from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.training.loop import Loop


class TimeLimit(Part):
    """Ends a fit as ``"time"`` when it has trained for so long; for a resumed run, the time before counts too.

    The time is that from the first step on, so neither building nor compiling the step counts. It is looked at after a
    step, and where losses stay on the device when they are fetched, which is at least once a second.

    Parameters
    ----------
    seconds : float

    Attributes
    ----------
    spent : float
        Seconds of training so far; checkpoints keep it.

    Raises
    ------
    ConfigurationError
        If `seconds` is not a number above 0.
    """

    name = "time_limit"

    @kinds.checked(seconds=kinds.number(above=0, like=3600))
    def __init__(self, seconds: float) -> None:
        self.seconds, self.spent = seconds, 0.0

    def enter(self, run: Loop) -> None:
        self._before, self._started = self.spent, time.monotonic()
        self._end_if_over(run)

    def after_step(self, run: Loop, step: Step) -> None:
        self.spent = self._before + time.monotonic() - self._started
        self._end_if_over(run)

    def _end_if_over(self, run: Loop) -> None:
        if self.spent >= self.seconds:
            run.end("time")

    def state(self) -> dict[str, float]:
        return {"spent": self.spent}

    def restore(self, state: dict[str, float]) -> None:
        self.spent = float(state["spent"])
