"""The mass of logistic distributions in the 256 levels of a pixel: the likelihood `DiscretizedLogistic`."""

from __future__ import annotations

import numpy as np
import scipy.special
import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.arguments import GENERATOR
from fastvae.backends.abstract import discretized_logistic
from fastvae.backends.abstract.discretized_logistic import LARGEST_LOG_SCALE
from fastvae.distributions.levels import LEVELS, LevelsLikelihood, log_sum_exp


class DiscretizedLogistic(LevelsLikelihood):
    """The mass of a logistic distribution, or of a mixture of them, between the neighbours of a level.

    Parameters
    ----------
    components : int
        Logistics in the mixture. The decoder has 2 outputs a pixel and channel for one (mean, log scale) and 3 for
        each of several (these, and the unnormalised logarithm of its weight), those of a channel side by side: first
        all means, then all log scales, then all weights.

    Raises
    ------
    ConfigurationError
        If `components` is not a positive integer.

    Notes
    -----
    As in Salimans et al. (arXiv:1701.05517), with pixels y = 2x - 1 in [-1, 1], log scales from -7 (here to 7), and
    all mass beyond the ends in the outermost levels. `fastvae.backends.abstract.discretized_logistic` has the
    formulas, of which nothing cancels however far a level lies, and computes value and gradient in one pass each.

    Examples
    --------
    >>> outputs = np.array([0, -100], "float32").reshape(1, 2, 1, 1)  # a narrow logistic between levels 127 and 128
    >>> x = np.array([127], "float32").reshape(1, 1, 1, 1) / 255
    >>> DiscretizedLogistic().log_prob(x, outputs).eval().round(2)
    array([[[[-0.69]]]], dtype=float32)
    """

    name = "discretized-logistic"

    @kinds.checked(components=kinds.size)
    def __init__(self, components: int = 1) -> None:
        super().__init__(components=components)
        self.n_outputs = 2 if components == 1 else 3 * components

    @kinds.checked(output=expressions.tensor)
    def mean(self, output: tt.TensorVariable) -> tt.TensorVariable:
        """The mean of the clipped logistics: within half a level of that of the levels.

        The mean of Y clipped to [-1, 1] is -1 plus the integral of P(Y > t) over [-1, 1], which is
        scale (softplus((mean + 1) / scale) - softplus((mean - 1) / scale)).
        """
        centre, log_scale, log_weight = self._components(output)
        scale, one = tt.exp(log_scale), np.float32(1)
        rise = tt.nnet.softplus((centre + one) / scale) - tt.nnet.softplus((centre - one) / scale)
        mean = (tt.exp(log_weight) * scale * rise).sum(axis=-1) * np.float32(0.5)
        return tt.clip(mean, np.float32(0), one).dimshuffle(0, 3, 1, 2)

    @kinds.checked(x=expressions.tensor, output=expressions.tensor)
    def log_prob(self, x: tt.TensorVariable, output: tt.TensorVariable) -> tt.TensorVariable:
        """Log-probability of the level of each pixel and channel, in nats, float32 (batch, C, H, W)."""
        return discretized_logistic.log_prob(x, output, self.options["components"])

    @kinds.checked(output=kinds.anything, rng=GENERATOR)
    def draw_images(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Images of the levels: draws of the logistics, rounded to the nearest level."""
        parts, n = self._values_by_parameter(output), self.options["components"]
        logits = parts[:, :, 2 * n :] if n > 1 else parts[:, :, :1]
        chosen = np.argmax(logits + rng.gumbel(size=logits.shape), axis=2)[:, :, None]
        centre, log_scale = (np.take_along_axis(part, chosen, 2)[:, :, 0] for part in (parts, parts[:, :, n:]))
        scale = np.exp(np.clip(log_scale, -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))
        y = centre + scale * scipy.special.logit(rng.random(centre.shape))
        return np.rint((np.clip(y, -1, 1) + 1) / 2 * (LEVELS - 1)) / (LEVELS - 1)

    def _components(self, output: tt.TensorVariable) -> tuple[tt.TensorVariable, ...]:
        """Mean, log scale and log weight of each logistic, float32 (batch, H, W, C, components)."""
        by_parameter, n = self._by_parameter(tt.as_tensor_variable(output)), self.options["components"]
        centre, log_scale = by_parameter[..., :n], by_parameter[..., n : 2 * n]
        log_scale = tt.clip(log_scale, np.float32(-LARGEST_LOG_SCALE), np.float32(LARGEST_LOG_SCALE))
        if n == 1:
            return tt.addbroadcast(centre, 4), tt.addbroadcast(log_scale, 4), np.float32(0)
        logits = by_parameter[..., 2 * n :]
        return centre, log_scale, logits - tt.shape_padright(log_sum_exp(logits))
