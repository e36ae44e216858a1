"""Independent Normals: the likelihood `Normal`, the posterior `MeanField`, and `DiagonalNormal`, which both stand for.

With noise eps ~ Normal(0, 1) a draw is z = mean + sd eps. The posteriors here are all z = mean + L eps, with L
triangular (for independent latents diagonal) and by entry i

    log q(z)     -eps_i^2 / 2 - log |L_ii| - log(2 pi) / 2
    E_q log q    -1 / 2 - log |L_ii| - log(2 pi) / 2
    E_q log p    -(variance_i + (mean_i - mu_i)^2) / (2 sd_i^2) - log sd_i - log(2 pi) / 2      for p = Normal(mu, sd)

of which KL(q, p) = E_q log q - E_q log p.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt
from pymc3.variational.approximations import MeanFieldGroup

from fastvae import expressions, kinds
from fastvae.arguments import GENERATOR
from fastvae.distributions.likelihood import Likelihood
from fastvae.distributions.posterior import Distribution, Posterior
from fastvae.nn.activations import sigmoid

HALF_LOG_2PI = np.float32(0.5 * math.log(2 * math.pi))


class TriangularNormal(Distribution):
    """A Normal whose draws are mean + L noise, L triangular."""

    has_closed_forms = True

    @property
    @abc.abstractmethod
    def log_scale(self) -> tt.TensorVariable:
        """log |L_ii|, (batch, size): they add up to ``log |dz / dnoise|``."""

    def log_q(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        return pm.Normal.dist().logp(noise) - self.log_scale  # PyMC3's expression, to the last bit of the loss

    def log_density(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        return (np.float32(-0.5) * tt.sqr(noise) - HALF_LOG_2PI - self.log_scale).sum(axis=-1)

    def expected_log_q(self) -> tt.TensorVariable:
        return -np.float32(0.5) - HALF_LOG_2PI - self.log_scale


class DiagonalNormal(TriangularNormal):
    """Independent Normals.

    Parameters
    ----------
    mean, sd : float32 expressions
        Both (batch, size) for a posterior; for a likelihood's `log_prob` they need only broadcast.

    Examples
    --------
    >>> q = DiagonalNormal(tt.zeros((1, 2), "float32"), np.full((1, 2), 2, "float32"))
    >>> q.draw(np.ones((1, 2), "float32")).eval(), q.grad_log_q(np.ones((1, 2), "float32"))
    (array([[2., 2.]], dtype=float32), array([[-0.5, -0.5]], dtype=float32))
    """

    def __init__(self, mean: tt.TensorVariable, sd: tt.TensorVariable) -> None:
        self.mean, self.sd = mean, sd

    @property
    def log_scale(self) -> tt.TensorVariable:
        return tt.log(self.sd)

    @property
    def variance(self) -> tt.TensorVariable:
        return tt.sqr(self.sd)

    def draw(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        return self.sd * noise + self.mean

    def grad_log_q(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        return -noise / self.sd

    def log_prob(self, x: tt.TensorVariable) -> tt.TensorVariable:
        """Log density at `x`, by entry."""
        return pm.Normal.dist(mu=self.mean, sigma=self.sd).logp(x)

    def expected_log_prob(self, mean: tt.TensorVariable, variance: tt.TensorVariable) -> tt.TensorVariable:
        """Expectation of `log_prob` at what has this mean and variance, by entry."""
        half_square = np.float32(0.5) * (variance + (mean - self.mean) ** 2) / self.sd**2
        return -half_square - self.log_scale - HALF_LOG_2PI


class Normal(Likelihood):
    """A Normal of one standard deviation around the decoder's mean image, which is in [0, 1] by a sigmoid.

    Parameters
    ----------
    sd : float
        Standard deviation of a pixel, for pixels in [0, 1].
    learn_sd : bool
        Whether it is a parameter, one number for all pixels, which starts at `sd`.

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Notes
    -----
    A density of continuous pixels: with a learned sd it grows without bound on images that the decoder can copy
    exactly. For 8-bit images take a likelihood of 256 levels.

    Examples
    --------
    >>> Normal(sd=0.5, learn_sd=True).get_params()
    [likelihood.log_sd]
    """

    name = "normal"
    activation = staticmethod(sigmoid)
    discrete = False

    @kinds.checked(sd=kinds.number(above=0, like=0.1), learn_sd=kinds.boolean)
    def __init__(self, sd: float = 0.1, learn_sd: bool = False) -> None:
        super().__init__(sd=float(sd), learn_sd=learn_sd)
        self.sd = np.float32(sd)
        if learn_sd:
            self.log_sd = theano.shared(np.float32(math.log(sd)), name="likelihood.log_sd")
            self.sd = tt.exp(self.log_sd)

    def get_params(self) -> list:
        """`log_sd`, float32 scalar, if it is learned."""
        return [self.log_sd] if self.options["learn_sd"] else []

    @kinds.checked(output=expressions.tensor)
    def mean(self, output: tt.TensorVariable) -> tt.TensorVariable:
        """The decoder's output itself."""
        return output

    @kinds.checked(x=expressions.tensor, output=expressions.tensor)
    def log_prob(self, x: tt.TensorVariable, output: tt.TensorVariable) -> tt.TensorVariable:
        """Log-density of images `x` in nats, float32 (batch, C, H, W), one value a pixel and channel."""
        return DiagonalNormal(output, self.sd).log_prob(x)

    @kinds.checked(output=kinds.anything, rng=GENERATOR)
    def draw_images(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Images with the noise of the pixels, which takes some of them out of [0, 1]."""
        sd = np.exp(self.log_sd.get_value()) if self.options["learn_sd"] else self.sd
        return output + sd * rng.standard_normal(output.shape, dtype=np.float32)

    @kinds.checked(name=kinds.text, x=expressions.tensor, output=expressions.tensor, total_size=kinds.anything)
    def observe(self, name: str, x: tt.TensorVariable, output: tt.TensorVariable, total_size: int | None) -> Any:
        """The observed variable `name`, a `pymc3.Normal`."""
        return pm.Normal(name, mu=output, sigma=self.sd, observed=x, total_size=total_size)


class MeanField(Posterior):
    """Independent latents: `encode` returns (mean, rho), the standard deviations are softplus(rho).

    Examples
    --------
    >>> MeanField().covariance(np.full((1, 2), -2.0)).round(3)
    array([[[0.016, 0.   ],
            [0.   , 0.016]]])
    """

    name = "mean-field"
    parameters = "mu", "rho"
    group = MeanFieldGroup
    takes_global = True

    @kinds.checked(n_latent=kinds.size)
    def n_spread(self, n_latent: int) -> int:
        """Columns of the second output of `encode`: `n_latent`."""
        return n_latent

    @kinds.checked(raw=expressions.tensor, n_latent=kinds.size)
    def spread(self, raw: tt.TensorVariable, n_latent: int) -> tt.TensorVariable:
        """The second output of `encode` from the network's unbounded one: itself."""
        return raw

    @kinds.checked(mean=expressions.tensor, spread=expressions.tensor, n_latent=kinds.size)
    def distribution(self, mean: tt.TensorVariable, spread: tt.TensorVariable, n_latent: int) -> DiagonalNormal:
        """q(z | x) for the outputs of `encode`, each (batch, n_latent)."""
        return DiagonalNormal(mean, tt.nnet.softplus(spread))

    @kinds.checked(spread=expressions.tensor)
    def covariance(self, spread: np.ndarray) -> np.ndarray:
        """Covariances (N, n_latent, n_latent) as an array, from an array of the second output of `encode`."""
        sd = np.logaddexp(0, spread)
        return np.square(sd)[:, :, None] * np.eye(sd.shape[1], dtype=sd.dtype)
