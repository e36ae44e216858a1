"""Free probabilities of the 256 levels of a pixel: the likelihood `Categorical`."""

from __future__ import annotations

import numpy as np
import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.arguments import GENERATOR
from fastvae.backends.abstract import categorical
from fastvae.distributions.levels import LEVELS, LevelsLikelihood, log_sum_exp


class Categorical(LevelsLikelihood):
    """256 free probabilities a pixel and channel; the decoder's output is their unnormalised logarithms, side by side.

    Notes
    -----
    The decoder's last layer has 256 outputs for one of the other likelihoods, and knows nothing of the order of the
    levels: it learns slowly from few images. `DiscretizedLogistic` needs 2.

    Examples
    --------
    >>> nats = Categorical().log_prob(np.zeros((1, 1, 1, 1), "float32"), np.zeros((1, 256, 1, 1), "float32"))
    >>> (nats.eval() / float(np.log(2))).round(3)  # 8 bits
    array([[[[-8.]]]], dtype=float32)
    """

    name = "categorical"
    n_outputs = LEVELS

    @kinds.checked(output=expressions.tensor)
    def mean(self, output: tt.TensorVariable) -> tt.TensorVariable:
        """The expected levels over 255."""
        by_level = self._by_parameter(tt.as_tensor_variable(output))
        share = tt.exp(by_level - tt.shape_padright(log_sum_exp(by_level)))
        return tt.dot(share, np.linspace(0, 1, LEVELS, dtype=np.float32)).dimshuffle(0, 3, 1, 2)

    @kinds.checked(x=expressions.tensor, output=expressions.tensor)
    def log_prob(self, x: tt.TensorVariable, output: tt.TensorVariable) -> tt.TensorVariable:
        """Logarithm of the softmax at the pixel's level, in nats, float32 (batch, C, H, W)."""
        return categorical.log_prob(x, output, LEVELS)

    @kinds.checked(output=kinds.anything, rng=GENERATOR)
    def draw_images(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Images of the levels, by the Gumbel-max trick."""
        logits = self._values_by_parameter(output)
        level = np.argmax(logits - np.log(rng.standard_exponential(logits.shape, dtype=np.float32)), axis=2)
        return level / np.float32(LEVELS - 1)
