"""What every likelihood p(x | z) of images is: `Likelihood`, the base class.

Examples
--------
A likelihood of two levels, black and white, whose decoder's output is the probability of white:

>>> class Coin(Likelihood):
...     name = "coin"
...     def mean(self, output):
...         return output
...     def log_prob(self, x, output):
...         return tt.log(tt.switch(x > 0.5, output, np.float32(1) - output))
>>> Coin().output_shape((3, 28, 28))
(3, 28, 28)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc3 as pm
import theano.tensor as tt

from fastvae import expressions, kinds, renamed
from fastvae.arguments import GENERATOR, RNG, generator
from fastvae.datasets.validation import in_type
from fastvae.errors import DataError
from fastvae.nn.activations import identity


class Likelihood:
    """What all likelihoods share. A subclass provides `mean` and `log_prob`, and what differs of the rest.

    Parameters
    ----------
    **options
        Arguments of the subclass, which JSON must be able to hold: a parameter file keeps them.

    Notes
    -----
    The decoder's output has `n_outputs` channels for each channel of an image, of the image's rows and columns. A
    likelihood that needs another shape provides `output_shape` in place of `n_outputs`.
    """

    name: str | None = None  #: by which a model takes it, and a parameter file keeps it
    n_outputs: int = 1  #: channels of the decoder's output for each channel of an image
    activation = staticmethod(identity)  #: of the decoder's last layer
    discrete: bool = True  #: whether it is a probability of pixel values, not a density
    binarizes_images: bool = False  #: whether the images to train on are binarised once
    binarizes_batches: bool = False  #: whether each minibatch is, in every step

    def __init__(self, **options: Any) -> None:
        renamed.method(type(self), "held_out_images", "as_data")  # the former may have been assigned since
        self.options = options
        values = {key: value.item() if isinstance(value, np.generic) else value for key, value in options.items()}
        self.config = {"name": self.name, **values}

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={kinds.plain(value)}" for key, value in self.options.items())
        return f"{type(self).__name__}({options})"

    def get_params(self) -> list:
        """Its own parameters (shared variables): part of the model's."""
        return []

    @kinds.checked(image_shape=kinds.shape_of_images)
    def output_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape (channels, rows, columns) of the decoder's output for one image of shape (C, H, W)."""
        channels, rows, columns = image_shape
        return channels * self.n_outputs, rows, columns

    @kinds.checked(output=expressions.tensor)
    def mean(self, output: tt.TensorVariable) -> tt.TensorVariable:
        """Mean images, a float32 expression (batch, C, H, W), from the decoder's output ``(batch, *output_shape)``."""
        raise NotImplementedError

    @kinds.checked(x=expressions.tensor, output=expressions.tensor)
    def log_prob(self, x: tt.TensorVariable, output: tt.TensorVariable) -> tt.TensorVariable:
        """Log-density of images `x`, (batch, C, H, W), in nats: a float32 expression.

        Its first axis is the batch. It has one value a pixel and channel, (batch, C, H, W), or, where the pixels are
        not independent, one an image, (batch,): whatever its other axes are, an image's log-density is the sum.
        """
        raise NotImplementedError

    @kinds.checked(output=kinds.anything, seed=RNG)
    def sample(self, output: np.ndarray, seed: int | np.random.Generator | None = None) -> np.ndarray:
        """One image drawn for each of the decoder's outputs (the posterior predictive distribution, given latents).

        Parameters
        ----------
        output : numpy.ndarray, float32 ``(batch, *output_shape)``
            Values of the decoder's output.
        seed : int or numpy.random.Generator, optional
            By default fresh entropy.

        Returns
        -------
        numpy.ndarray, float32 (batch, C, H, W)

        Raises
        ------
        DataError
            If the outputs are not finite floats of four axes, or their channels not those of whole images.

        Examples
        --------
        >>> import fastvae
        >>> fastvae.likelihoods.Bernoulli().sample(np.full((1, 1, 1, 3), 99, "float32"))
        array([[[[1., 1., 1.]]]], dtype=float32)
        """
        owner = f"{type(self).__name__}.sample"
        output = in_type(output, "float32", f"{owner}: output")
        if output.ndim != 4:
            raise DataError(f"{owner}: output: found shape {output.shape}: give (batch, channels, rows, columns)")
        by_channel = type(self).output_shape is Likelihood.output_shape
        if by_channel and output.shape[1] % self.n_outputs:
            raise DataError(
                f"{owner}: output: found shape {output.shape}: give {self.n_outputs} channels for each channel of an "
                f"image, as {self!r}.output_shape(image_shape) says"
            )
        return self.draw_images(output, generator(owner, seed)).astype(np.float32)

    @kinds.checked(output=kinds.anything, rng=GENERATOR)
    def draw_images(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What a subclass provides for `sample`: images (batch, C, H, W) from outputs that are in order."""
        raise NotImplementedError

    @kinds.checked(name=kinds.text, x=expressions.tensor, output=expressions.tensor, total_size=kinds.anything)
    def observe(self, name: str, x: tt.TensorVariable, output: tt.TensorVariable, total_size: int | None) -> Any:
        """The observed variable `name` of the PyMC3 model of the context."""
        return pm.DensityDist(name, lambda value: self.log_prob(value, output), observed=x, total_size=total_size)

    @kinds.checked(images=kinds.anything, owner=kinds.text)
    def check(self, images: np.ndarray, owner: str) -> None:
        """Raise a DataError for images, an array float32 in [0, 1] or uint8, that it cannot be trained on."""

    @kinds.checked(images=kinds.anything, seed=kinds.optional(kinds.seed))
    def as_data(self, images: Any, seed: int | None) -> Any:
        """Images, (N, C, H, W), in memory or on disk, as the data that it is a likelihood of: by default as they are.

        `seed` is that of the draws, where there are any.
        """
        return images

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        renamed.method(cls, "held_out_images", "as_data")
