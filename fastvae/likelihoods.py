"""Likelihoods p(x | z) of images: what the decoder's output means, and the log-density of images under it.

=======================  ==============================  ===========================================================
`Normal`                 ``normal``                      Normal around the mean image, sd fixed (0.1) or learned
`Bernoulli`              ``bernoulli``                   black or white pixels, from logits; binarises grey images
`Categorical`            ``categorical``                 256 free probabilities a pixel and channel, from logits
`DiscretizedLogistic`    ``discretized-logistic``        256 levels, the mass of a logistic (or of a mixture) in each
=======================  ==============================  ===========================================================

A model takes one as ``likelihood=``, by name or as an instance. `n_outputs` and `activation` shape the end of its
decoder, `mean` makes the mean image of `decode`, `log_prob` the log-density: all float32 expressions. The last two put
the parameters of a pixel and channel side by side on the decoder's channel axis, channel by channel.

Examples
--------
>>> import fastvae
>>> vae = fastvae.MLPVAE(image_shape=(1, 4, 4), likelihood="bernoulli", seed=0)
>>> vae.decode_mean(np.zeros((1, 2), "float32")).shape
(1, 1, 4, 4)
>>> fastvae.MLPVAE(likelihood=Normal(sd=0.2)).likelihood
Normal(sd=0.2, learn_sd=False)
"""

import math

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt

from fastvae import datasets, expressions, kinds
from fastvae.backends.abstract import categorical, discretized_logistic
from fastvae.backends.abstract.discretized_logistic import LARGEST_LOG_SCALE, LEVELS
from fastvae.errors import DataError
from fastvae.nn.activations import identity, sigmoid


class Likelihood:
    """What all likelihoods share.

    Parameters
    ----------
    **options
        Arguments of the subclass, which JSON must be able to hold: a parameter file keeps them.
    """

    name = None
    n_outputs = 1  #: channels of the decoder's output for each channel of an image
    activation = staticmethod(identity)  #: of the decoder's last layer
    discrete = True  #: whether it is a probability of pixel values, not a density
    binarizes_images = False  #: whether the images to train on are binarised once
    binarizes_batches = False  #: whether each minibatch is, in every step

    def __init__(self, **options):
        self.options = options
        self.config = {"name": self.name, **options}

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.options.items())})"

    def get_params(self):
        """Its own parameters (shared variables): part of the model's."""
        return []

    @kinds.checked(output=expressions.tensor)
    def mean(self, output):
        """Mean images, float32 (batch, C, H, W), from the decoder's output (batch, n_outputs C, H, W)."""
        raise NotImplementedError

    @kinds.checked(x=expressions.tensor, output=expressions.tensor)
    def log_prob(self, x, output):
        """Log-density of images `x` in nats, float32 (batch, C, H, W), one value a pixel and channel."""
        raise NotImplementedError

    @kinds.checked(name=kinds.text, x=expressions.tensor, output=expressions.tensor, total_size=kinds.anything)
    def observe(self, name, x, output, total_size):
        """The observed variable `name` of the PyMC3 model of the context."""
        return pm.DensityDist(name, lambda value: self.log_prob(value, output), observed=x, total_size=total_size)

    @kinds.checked(images=kinds.anything, owner=kinds.text)
    def check(self, images, owner):
        """Refuse images, an array float32 in [0, 1] or uint8, that it cannot be trained on."""

    @kinds.checked(images=kinds.anything, seed=kinds.optional(kinds.seed))
    def held_out_images(self, images, seed):
        """What becomes of images, (N, C, H, W), in memory or on disk, that are to be judged."""
        return images


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
    def __init__(self, sd=0.1, learn_sd=False):
        super().__init__(sd=float(sd), learn_sd=learn_sd)
        self.sd = np.float32(sd)
        if learn_sd:
            self.log_sd = theano.shared(np.float32(math.log(sd)), name="likelihood.log_sd")
            self.sd = tt.exp(self.log_sd)

    def get_params(self):
        """`log_sd`, float32 scalar, if it is learned."""
        return [self.log_sd] if self.options["learn_sd"] else []

    @kinds.checked(output=expressions.tensor)
    def mean(self, output):
        """The decoder's output itself."""
        return output

    @kinds.checked(x=expressions.tensor, output=expressions.tensor)
    def log_prob(self, x, output):
        """Log-density of images `x` in nats, float32 (batch, C, H, W), one value a pixel and channel."""
        return pm.Normal.dist(mu=output, sigma=self.sd).logp(x)

    @kinds.checked(name=kinds.text, x=expressions.tensor, output=expressions.tensor, total_size=kinds.anything)
    def observe(self, name, x, output, total_size):
        """The observed variable `name`, a `pymc3.Normal`."""
        return pm.Normal(name, mu=output, sigma=self.sd, observed=x, total_size=total_size)


class Bernoulli(Likelihood):
    """Black or white pixels; the decoder's output is the log-odds of white.

    Parameters
    ----------
    binarize : {"dynamic", "static"}
        A grey pixel is white with the probability of its value, as Burda et al. (arXiv:1509.00519) take MNIST: drawn
        anew in every step, in the graph, or once before the training. Images of 0 and 1 stay as they are.

    Raises
    ------
    ConfigurationError
        If `binarize` is neither.

    Examples
    --------
    >>> x = np.ones((1, 1, 1, 2), "float32")
    >>> Bernoulli().log_prob(x, np.array([[[[0, -100]]]], "float32")).eval().round(3)
    array([[[[  -0.693, -100.   ]]]], dtype=float32)
    """

    name = "bernoulli"

    @kinds.checked(binarize=kinds.choice("dynamic", "static"))
    def __init__(self, binarize="dynamic"):
        super().__init__(binarize=binarize)
        self.binarizes_images = binarize == "static"
        self.binarizes_batches = binarize == "dynamic"

    @kinds.checked(output=expressions.tensor)
    def mean(self, output):
        """The probabilities of white."""
        return sigmoid(output)

    @kinds.checked(x=expressions.tensor, output=expressions.tensor)
    def log_prob(self, x, output):
        """x log p + (1 - x) log(1 - p) with p = sigmoid(output): finite, with its gradient, for every finite output."""
        return x * output - tt.nnet.softplus(output)

    @kinds.checked(images=kinds.anything, seed=kinds.optional(kinds.seed))
    def held_out_images(self, images, seed):
        """Binary images, float32 (N, C, H, W), one draw of each; of rows on disk as they are read."""
        return datasets.binarized(images, seed).astype(np.float32)


class _Levels(Likelihood):
    """Likelihoods of the 256 levels 0, 1/255, ... 1 of an 8-bit pixel."""

    @kinds.checked(images=kinds.anything, owner=kinds.text)
    def check(self, images, owner):
        """Refuse floats between the levels."""
        if images.dtype == np.uint8:
            return
        scaled = images * np.float32(LEVELS - 1)
        if np.abs(scaled - np.rint(scaled)).max() > 1e-3:
            raise DataError(
                f"{owner}: the likelihood {self.name!r} is of the 256 levels of 8-bit images, and these are floats "
                "with values between them: give uint8 images, or round them by np.rint(255 * images) / 255"
            )

    def _by_parameter(self, output):
        """The decoder's output as (batch, H, W, C, n_outputs), which moves nothing where activations are NHWC."""
        output = output.dimshuffle(0, 2, 3, 1)
        channels = output.shape[3] // self.n_outputs
        return output.reshape((output.shape[0], output.shape[1], output.shape[2], channels, self.n_outputs))


class Categorical(_Levels):
    """256 free probabilities a pixel and channel; the decoder's output is their unnormalised logarithms.

    Notes
    -----
    The decoder's last layer has 256 outputs for one of the other likelihoods, and knows nothing of the order of the
    levels: it learns slowly from few images. `DiscretizedLogistic` needs 2.

    Examples
    --------
    >>> nats = Categorical().log_prob(np.zeros((1, 1, 1, 1), "float32"), np.zeros((1, 256, 1, 1), "float32"))
    >>> (nats.eval() / np.log(2)).round(3)  # 8 bits
    array([[[[-8.]]]], dtype=float32)
    """

    name = "categorical"
    n_outputs = LEVELS

    @kinds.checked(output=expressions.tensor)
    def mean(self, output):
        """The expected levels over 255."""
        by_level = self._by_parameter(tt.as_tensor_variable(output))
        share = tt.exp(by_level - tt.shape_padright(_log_sum_exp(by_level)))
        return tt.dot(share, np.linspace(0, 1, LEVELS, dtype=np.float32)).dimshuffle(0, 3, 1, 2)

    @kinds.checked(x=expressions.tensor, output=expressions.tensor)
    def log_prob(self, x, output):
        """Logarithm of the softmax at the pixel's level, in nats, float32 (batch, C, H, W)."""
        return categorical.log_prob(x, output, LEVELS)


class DiscretizedLogistic(_Levels):
    """The mass of a logistic distribution, or of a mixture of them, between the neighbours of a level.

    Parameters
    ----------
    components : int
        Logistics in the mixture. The decoder has 2 outputs a pixel and channel for one (mean, log scale) and 3 for
        each of several (these, and the unnormalised logarithm of its weight).

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
    def __init__(self, components=1):
        super().__init__(components=components)
        self.n_outputs = 2 if components == 1 else 3 * components

    @kinds.checked(output=expressions.tensor)
    def mean(self, output):
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
    def log_prob(self, x, output):
        """Log-probability of the level of each pixel and channel, in nats, float32 (batch, C, H, W)."""
        return discretized_logistic.log_prob(x, output, self.options["components"])

    def _components(self, output):
        """Mean, log scale and log weight of each logistic, float32 (batch, H, W, C, components)."""
        by_parameter, n = self._by_parameter(tt.as_tensor_variable(output)), self.options["components"]
        centre, log_scale = by_parameter[..., :n], by_parameter[..., n : 2 * n]
        log_scale = tt.clip(log_scale, np.float32(-LARGEST_LOG_SCALE), np.float32(LARGEST_LOG_SCALE))
        if n == 1:
            return tt.addbroadcast(centre, 4), tt.addbroadcast(log_scale, 4), np.float32(0)
        logits = by_parameter[..., 2 * n :]
        return centre, log_scale, logits - tt.shape_padright(_log_sum_exp(logits))


def _log_sum_exp(x):
    """log of the sum of exp over the last axis; of one element it is that element."""
    if x.broadcastable[-1]:
        return x[..., 0]
    highest = theano.gradient.disconnected_grad(x.max(axis=-1, keepdims=True))
    total = tt.exp(x - highest).sum(axis=-1)
    return tt.log(tt.maximum(total, np.float32(1))) + highest[..., 0]  # it is at least 1; says theano not to redo this


NAMED = {cls.name: cls for cls in (Normal, Bernoulli, Categorical, DiscretizedLogistic)}


def _likelihood(value):
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
    f"one of {', '.join(map(repr, NAMED))}, or an instance such as fastvae.likelihoods.Normal(learn_sd=True)",
    _likelihood,
)


@kinds.checked(owner=kinds.text, likelihood=kinds.anything)
def make(owner, likelihood):
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
