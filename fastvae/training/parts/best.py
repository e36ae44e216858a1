"""The parameters of the best held-out ELBO: those that a fit leaves which ends because its patience is over.

Examples
--------
>>> import numpy as np, theano
>>> w = theano.shared(np.float32(1), name="w")
>>> best = Best([w])
>>> best.remember(step=10, elbo=-3.0)
>>> w.set_value(np.float32(2))
>>> best.remember(step=20, elbo=-4.0)
>>> best.restore()
>>> float(w.get_value())
1.0
"""

import math
import sys


class Best:
    """Values of parameters at the best evaluation so far.

    Parameters
    ----------
    params : list of theano.compile.SharedVariable
    state : dict, optional
        That of a resumed run.

    Attributes
    ----------
    state : dict or None
        `step`, `elbo` (nats per row) and `values` of the best evaluation, for a checkpoint; None before the first.
    """

    def __init__(self, params, state=None):
        self.params, self.state = params, state

    def remember(self, step, elbo):
        """Keep the parameters' values if the ELBO, a float, is better than those before; NaN never is."""
        if math.isnan(elbo) or (self.state is not None and elbo <= self.state["elbo"]):
            return
        self.state = {"step": step, "elbo": elbo, "values": [param.get_value() for param in self.params]}

    def restore(self):
        """Give the parameters their best values back, and say so in one line."""
        if self.state is None:
            print("fastvae: patience is over; no held-out ELBO was a number: the last parameters stay", file=sys.stderr)
            return
        for param, value in zip(self.params, self.state["values"]):
            param.set_value(value)
        print(
            f"fastvae: patience is over; the parameters are those of step {self.state['step']:,}, which had the best "
            f"held-out ELBO, {self.state['elbo']:.4g} nats per row",
            file=sys.stderr,
        )
