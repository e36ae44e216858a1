"""Training: PyMC3's `fit` on the fast path, a pure step function that a loop calls.

fitting         `fit`
arguments       its arguments: their kinds, names, and descriptions in checkpoints
methods         which inference, and what runs through stock `pm.fit`
preparing       the compiled step
loop            the loop over steps
parts           what happens around the steps: checkpoints, held-out ELBO, history, progress, callbacks, ...
losses          losses that stay on the device for some steps
nonfinite       losses and parameters that are not finite
held_out        measures the held-out ELBO
history         the CSV file of losses
progress        the line on the standard error
showing         what a notebook shows of an approximation
"""

from fastvae.training import showing  # noqa: F401, for what it gives to PyMC3's class
from fastvae.training.arguments import check_names, forwarding
from fastvae.training.fitting import STEPS, arguments_of, fit
from fastvae.training.methods import METHODS, UNUSED

__all__ = ["METHODS", "STEPS", "UNUSED", "arguments_of", "check_names", "fit", "forwarding"]
