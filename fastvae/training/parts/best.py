"""The parameters at the best held-out ELBO, which a fit keeps if it ends because its patience is over.

Examples
--------
>>> import numpy as np, theano
>>> w = theano.shared(np.float32(1), name="w")
>>> best = Best([w])
>>> best.remember(step=10, elbo=-3.0)
>>> w.set_value(np.float32(2))
>>> best.remember(step=20, elbo=-4.0)
>>> best.give_back()
>>> float(w.get_value())
1.0
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Sequence

from fastvae.messages import say
from fastvae.training.parts.base import Part, Step

if TYPE_CHECKING:
    from fastvae.training.loop import Loop


class Best(Part):
    """Remembers the values of parameters at the best measurement so far.

    Parameters
    ----------
    params : list of theano.compile.SharedVariable

    Attributes
    ----------
    found : dict or None
        `step`, `elbo` (nats per row) and `values` of the best measurement; None before the first.
    """

    name = "best"
    needs_newest = True

    def __init__(self, params: Sequence[Any]) -> None:
        self.params = params
        self.found: dict[str, Any] | None = None

    def after_step(self, run: Loop, step: Step) -> None:
        if "held_out_elbo" in step.measured:
            self.remember(step.number, step.measured["held_out_elbo"])

    def remember(self, step: int, elbo: float) -> None:
        """Keep the parameters' values if the ELBO, a float, is better than those before; NaN never is."""
        if math.isnan(elbo) or (self.found is not None and elbo <= self.found["elbo"]):
            return
        self.found = {"step": step, "elbo": elbo, "values": [param.get_value() for param in self.params]}

    def give_back(self) -> None:
        """Give the parameters their best values back, and say so in one line."""
        if self.found is None:
            say("fastvae: patience is over; no held-out ELBO was a number: the last parameters stay")
            return
        for param, value in zip(self.params, self.found["values"]):
            param.set_value(value)
        say(
            f"fastvae: patience is over; the parameters are those of step {self.found['step']:,}, which had the best "
            f"held-out ELBO, {self.found['elbo']:.4g} nats per row"
        )

    def state(self) -> dict[str, Any] | None:
        return self.found

    def restore(self, state: dict[str, Any]) -> None:
        shapes = [param.get_value(borrow=True).shape for param in self.params]
        if [value.shape for value in state["values"]] != shapes:
            raise ValueError("the best parameters have other shapes")
        self.found = {"step": int(state["step"]), "elbo": float(state["elbo"]), "values": state["values"]}
