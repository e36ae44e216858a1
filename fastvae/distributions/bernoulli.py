"""Black or white pixels: the likelihood `Bernoulli`."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special
import theano.tensor as tt

from fastvae import datasets, expressions, kinds
from fastvae.arguments import GENERATOR
from fastvae.distributions.likelihood import Likelihood
from fastvae.nn.activations import sigmoid


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
    def __init__(self, binarize: str = "dynamic") -> None:
        super().__init__(binarize=binarize)
        self.binarizes_images = binarize == "static"
        self.binarizes_batches = binarize == "dynamic"

    @kinds.checked(output=expressions.tensor)
    def mean(self, output: tt.TensorVariable) -> tt.TensorVariable:
        """The probabilities of white."""
        return sigmoid(output)

    @kinds.checked(x=expressions.tensor, output=expressions.tensor)
    def log_prob(self, x: tt.TensorVariable, output: tt.TensorVariable) -> tt.TensorVariable:
        """x log p + (1 - x) log(1 - p) with p = sigmoid(output): finite, with its gradient, for every finite output."""
        return x * output - tt.nnet.softplus(output)

    @kinds.checked(output=kinds.anything, rng=GENERATOR)
    def draw_images(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Images of 0 and 1."""
        return rng.random(output.shape, dtype=np.float32) < scipy.special.expit(output)

    @kinds.checked(images=kinds.anything, seed=kinds.optional(kinds.seed))
    def as_data(self, images: Any, seed: int | None) -> Any:
        """Binary images, float32 (N, C, H, W), one draw of each; of rows on disk as they are read."""
        return datasets.binarized(images, seed).astype(np.float32)
