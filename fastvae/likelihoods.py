"""Likelihoods p(x | z) of images: what the decoder's output means, and the log-density of images under it.

=======================  ==============================  ===========================================================
`Normal`                 ``normal``                      Normal around the mean image, sd fixed (0.1) or learned
`Bernoulli`              ``bernoulli``                   black or white pixels, from logits; binarises grey images
`Categorical`            ``categorical``                 256 free probabilities a pixel and channel, from logits
`DiscretizedLogistic`    ``discretized-logistic``        256 levels, the mass of a logistic (or of a mixture) in each
`BetaBinomial`           ``beta-binomial``               256 levels as counts of 255 trials, their probability a Beta's
`LowRankNormal`          ``low-rank-normal``             Normal with a sd a pixel and a few directions of common noise
=======================  ==============================  ===========================================================

A model takes one as ``likelihood=``, by name or as an instance: `output_shape` and `activation` shape the end of its
decoder, `mean` makes the mean image of `decode`, `log_prob` is the log-density, all in float32, and `sample` draws
images. Each says how its parameters lie on the channel axis of the decoder's output.

Each lives in a file of its own in `fastvae.distributions`. One of your own is a subclass of `Likelihood`.

Examples
--------
>>> import fastvae, numpy as np
>>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), likelihood="bernoulli", seed=0)
>>> vae.decode_mean(np.zeros((1, 2), "float32")).shape
(1, 1, 4, 4)
>>> fastvae.MLPVAE(likelihood=Normal(sd=0.2)).likelihood
Normal(sd=0.2, learn_sd=False)
"""

from __future__ import annotations

from typing import Any

from fastvae import kinds
from fastvae.distributions.bernoulli import Bernoulli
from fastvae.distributions.beta_binomial import BetaBinomial
from fastvae.distributions.categorical import Categorical
from fastvae.distributions.discretized_logistic import DiscretizedLogistic
from fastvae.distributions.likelihood import Likelihood
from fastvae.distributions.low_rank_normal import LowRankNormal
from fastvae.distributions.normal import Normal

NAMED = {cls.name: cls for cls in (Normal, Bernoulli, Categorical, DiscretizedLogistic, BetaBinomial, LowRankNormal)}
__all__ = ["Likelihood", "make", *(cls.__name__ for cls in NAMED.values())]


def _likelihood(value: Any) -> Any:
    if isinstance(value, Likelihood):
        return value
    config = {"name": value} if isinstance(value, str) else value
    if not isinstance(config, dict) or config.get("name") not in list(NAMED):
        raise TypeError
    options = getattr(NAMED[config["name"]].__init__, "kinds", {})
    if not config.keys() <= {"name", *options}:
        raise ValueError
    return value


#: What `make` takes.
LIKELIHOOD = kinds.Kind(
    "likelihood",
    lambda: f"one of {', '.join(map(repr, NAMED))}, or an instance such as fastvae.likelihoods.Normal(learn_sd=True)",
    _likelihood,
)


@kinds.checked(owner=kinds.text, likelihood=kinds.anything)
def make(owner: str, likelihood: str | dict | Likelihood) -> Likelihood:
    """A likelihood of its own for the model `owner`: its parameters are shared with no other model.

    Parameters
    ----------
    owner : str
    likelihood : str, dict or Likelihood
        A name of `NAMED`, a `Likelihood.config` from a parameter file, or an instance, of which a copy is made.

    Raises
    ------
    ConfigurationError
        If it is none of these.

    Examples
    --------
    >>> make("MLPVAE", "normal")
    Normal(sd=0.1, learn_sd=False)
    """
    likelihood = LIKELIHOOD.check(owner, "likelihood", likelihood)
    if isinstance(likelihood, Likelihood):
        return type(likelihood)(**likelihood.options)
    config = {"name": likelihood} if isinstance(likelihood, str) else likelihood
    return NAMED[config["name"]](**{key: value for key, value in config.items() if key != "name"})
