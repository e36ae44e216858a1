"""VAE: the protocol (encode, decode, get_params) and what every model that keeps it can do.

    encode(x) -> (mean, rho)   images to the posterior of the latents; its sd is softplus(rho), as in PyMC3
    decode(z) -> x_mean        latents to the mean image
    get_params()               every parameter, in a stable order
    get_state()                running statistics, found in encode and decode

The likelihood says how an image scatters around the decoder's output (`fastvae.likelihoods`), the posterior what the
second output of `encode` is (`fastvae.posteriors`). On top of these `VAE` has the numpy side: encode_mean, encode_sd,
encode_covariance, decode_mean, reconstruct, interpolate, sample, and parameter files: save, load_params, export.

Examples
--------
>>> from fastvae.models import MLPVAE
>>> vae = MLPVAE(image_shape=(1, 8, 8), n_latent=2, hidden=16, seed=0)
>>> vae.encode_mean(np.zeros((5, 1, 8, 8), "float32")).shape
(5, 2)
>>> vae.sample(3, seed=0).shape
(3, 1, 8, 8)
"""

from __future__ import annotations

import abc
import inspect
import logging
import os
from functools import cached_property
from typing import Any, Callable

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt

from fastvae import elbo, expressions, kinds, likelihoods, nn, parallel, posteriors, training
from fastvae.arguments import RNG, generator
from fastvae.compilation import InTurn
from fastvae.datasets.validation import in_type
from fastvae.elbo.evaluating import in_evaluation
from fastvae.errors import ConfigurationError, DataError
from fastvae.evaluation import importance
from fastvae.minibatch import Minibatch
from fastvae.models import exporting, persistence, summary
from fastvae.models.images import as_model_takes, in_chunks, to_train_on
from fastvae.models.persistence import full_name
from fastvae.optimizers import adam

#: Arguments of `fastvae.fit` that `VAE.fit` makes itself.
OF_THE_MODEL = ("local_rv", "model", "random_seed", "configuration", "more_obj_params", "more_replacements")


class VAE(abc.ABC):
    """A variational auto-encoder in Theano: subclass it and provide `encode`, `decode` and `get_params`.

    Parameters
    ----------
    image_shape : (int, int, int)
        Channels, rows and columns of an image.
    n_latent : int
        Latent variables of an image.
    likelihood : str or fastvae.likelihoods.Likelihood, optional
        By default ``"normal"`` (sd 0.1). A name from the table in `fastvae.likelihoods`, or an instance.
    posterior : str or fastvae.posteriors.Posterior, optional
        What `encode` returns beside the mean, by default rho: a name from the table in `fastvae.posteriors`, or an
        instance.

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Notes
    -----
    For another likelihood than ``"normal"`` provide `decode_output` too, and let `decode` return
    ``self.likelihood.mean(self.decode_output(z))``. `get_params` has to return ``self.likelihood.get_params()`` too
    where the likelihood has parameters.

    Examples
    --------
    >>> from fastvae import nn
    >>> class LinearVAE(VAE):
    ...     def __init__(self):
    ...         super().__init__(image_shape=(1, 4, 4), n_latent=2)
    ...         self.into, self.out = nn.Linear(16, 4, name="into"), nn.Linear(2, 16, name="out")
    ...     def encode(self, x):
    ...         latent = self.into(x.flatten(2))
    ...         return latent[:, :2], latent[:, 2:]
    ...     def decode(self, z):
    ...         return self.out(z).reshape((z.shape[0], 1, 4, 4))
    ...     def get_params(self):
    ...         return self.into.get_params() + self.out.get_params()
    >>> LinearVAE().reconstruct(np.zeros((3, 1, 4, 4), "float32")).shape
    (3, 1, 4, 4)
    """

    @kinds.checked(
        image_shape=kinds.shape_of_images,
        n_latent=kinds.size,
        likelihood=likelihoods.LIKELIHOOD,
        posterior=posteriors.POSTERIOR,
    )
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_latent: int,
        likelihood: Any = "normal",
        posterior: str | posteriors.Posterior = "mean-field",
    ) -> None:
        owner = type(self).__name__
        self.image_shape = image_shape
        self.n_latent = n_latent
        self.likelihood = likelihoods.make(owner, likelihood)
        self.posterior = posteriors.make(owner, posterior)
        self.config = {
            "image_shape": self.image_shape,
            "n_latent": self.n_latent,
            "likelihood": self.likelihood.config,
            "posterior": self.posterior.name,
        }

    @abc.abstractmethod
    def encode(self, x: Any) -> tuple[Any, Any]:
        """The posterior of images (batch, C, H, W): (mean, rho), each a float32 expression (batch, n_latent).

        With ``posterior="full-covariance"`` the second is the packed lower triangle,
        (batch, n_latent (n_latent + 1) / 2).
        """

    @abc.abstractmethod
    def decode(self, z: Any) -> Any:
        """The mean images, a float32 expression (batch, C, H, W), of latents (batch, n_latent)."""

    def decode_output(self, z: Any) -> Any:
        """The decoder's output for latents (batch, n_latent), from which the likelihood makes a distribution of images.

        A float32 expression ``(batch, *output_shape)``. ``self.likelihood.output_shape(image_shape)`` is three
        integers: channels, rows and columns. By default `decode(z)`, which a Normal likelihood takes.

        Raises
        ------
        ConfigurationError
            If the likelihood takes something else and the class does not provide it.
        """
        if not isinstance(self.likelihood, likelihoods.Normal):
            raise ConfigurationError(
                f"{type(self).__name__}: the likelihood {self.likelihood!r} takes more than mean images: provide "
                "decode_output(z), and let decode(z) return self.likelihood.mean(self.decode_output(z))"
            )
        return self.decode(z)

    @abc.abstractmethod
    def get_params(self) -> list:
        """Every parameter (shared variable), in a stable order."""

    def get_state(self) -> list:
        """What a training changes without training it: the running statistics of `encode` and `decode_output`.

        Shared variables, in a stable order; `save` keeps them with the parameters.
        """
        x, z = tt.tensor4("x", dtype="float32"), tt.matrix("z", dtype="float32")
        return nn.running_statistics([*self.encode(x), self.decode_output(z)])

    def summary(self) -> None:
        """Print the layers with their kinds, the shapes of one output and the number of parameters, and the totals.

        Examples
        --------
        >>> from fastvae.models import MLPVAE
        >>> MLPVAE(image_shape=(1, 4, 4), hidden=8).summary()
        MLPVAE: images (1, 4, 4), 2 latents, likelihood Normal(sd=0.1, learn_sd=False), posterior 'mean-field'
        layer            kind     output shape  parameters
        --------------------------------------------------
        encoder.flatten  Flatten  (16,)                  0
        encoder.dense1   Linear   (8,)                 136
        encoder.dense2   Linear   (4,)                  36
        decoder.dense1   Linear   (8,)                  24
        decoder.dense2   Linear   (16,)                144
        decoder.reshape  Reshape  (1, 4, 4)              0
        --------------------------------------------------
        total                                          340
        """
        print(summary.text(self))

    def _repr_html_(self) -> str:
        return summary.as_html(self)

    @training.forwarding(inspect.signature(training.fit).parameters, without=OF_THE_MODEL)
    @kinds.checked(
        training.fit,
        images=kinds.anything,
        batch_size=kinds.size,
        learning_rate=expressions.scalar(above=0),
        seed=kinds.optional(kinds.seed),
        obj_optimizer=kinds.optional(kinds.function(elbo.OPTIMIZER)),
        held_out=kinds.anything,
    )
    def fit(
        self,
        images: Any,
        n: int | None = None,
        batch_size: int = 64,
        learning_rate: Any = 1e-4,
        seed: int | None = None,
        *,
        obj_optimizer: Callable | None = None,
        held_out: Any = None,
        **kwargs: Any,
    ) -> pm.Approximation:
        """Train on images by maximising the ELBO (see `fastvae.elbo`), from the parameters as they are.

        Parameters
        ----------
        images : array or rows on disk, (N, C, H, W)
            As `fastvae.datasets.as_images` takes them; uint8 stays uint8 in memory and is divided by 255 within the
            step. What lies on disk (`fastvae.on_disk`, a path, `numpy.memmap`, `h5py.Dataset`) is streamed, and held to
            the same rules as it is read. A Bernoulli likelihood binarises them.
        n : int, optional
            Steps, those of a resumed run included; by default 10,000.
        batch_size : int
            Images in a minibatch: drawn uniformly with replacement, or with `epochs` shuffled anew in each.
        learning_rate : float, theano scalar or schedule of `fastvae.schedules`
            Of Adam.
        seed : int, optional
            Seeds minibatches, noise and binarisation: with the model's own seed, a run repeats exactly. By default
            fresh entropy.
        obj_optimizer : callable, optional
            Takes the place of `fastvae.adam(learning_rate=learning_rate)`.
        held_out : array or rows on disk, (M, C, H, W), optional
            Images as the first ones, but not among them, on which to measure the ELBO during the fit.
        **kwargs
            The other arguments of `fastvae.fit`, such as `epochs` (in place of `n`; images that do not fill a minibatch
            sit out an epoch), `checkpoint` and `objective`, but for those that the model makes itself. With `n_samples`
            the decoder takes all samples as one batch of n_samples * batch_size latents, or with batch normalisation or
            dropout one pass a sample, so that none affects another.

        Returns
        -------
        pymc3.Approximation
            With `.hist`, the losses in nats per minibatch, the other attributes that `fastvae.fit` gives it, and
            `.vae`, this model.

        Raises
        ------
        DataError
            If the images are not of the model's shape, not in [0, 1], not finite, or not what the likelihood takes (of
            rows on disk when the first bad one is read, which the message names), or a checkpoint cannot be written.
        ConfigurationError
            If another argument is out of its domain.
        NonFiniteError
            If the loss or a parameter stops being finite.

        Notes
        -----
        Not for another prior than Normal(0, 1): write a `pm.Model` and give it to `fastvae.fit`. A likelihood of your
        own is a subclass of `fastvae.likelihoods.Likelihood`.

        Examples
        --------
        >>> from fastvae.models import MLPVAE
        >>> vae = MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
        >>> approx = vae.fit(np.zeros((20, 1, 4, 4), "float32"), n=3, batch_size=5, seed=1, progressbar=False)
        >>> approx.hist.shape
        (3,)
        """
        given = dict(locals())
        owner = f"{type(self).__name__}.fit"
        self._check_fit(owner, kwargs)
        images = self.training_images(images, owner)
        ranks = parallel.join(kwargs.get("parallel", "auto"))
        scale = 1 / 255 if images.dtype == np.uint8 else None
        with ranks.together():  # without a seed each rank draws other words
            words = ranks.from_first([int(word) for word in generator(owner, seed).integers(1, 2**31 - 1, size=3)])
        minibatch_seed, noise_seed, binarisation_seed = words
        if self.likelihood.binarizes_images:
            images, scale = self.likelihood.as_data(images, binarisation_seed), None
        batch = self._minibatch(owner, images, batch_size, minibatch_seed, scale, kwargs.get("epochs"))
        model, local_rv, xs = elbo.vae_model(self, batch_size, len(images))
        if held_out is not None:
            held_out = self.training_images(held_out, f"{owner}, held_out", keep_bytes=False)
            held_out = {xs: self.likelihood.as_data(held_out, binarisation_seed)}
        configuration = {"model": {"class": full_name(type(self)), **self.config}}
        if kwargs.get("checkpoint") is not None:
            configuration["arguments"] = training.arguments_of(given)
        approx = training.fit(
            n,
            local_rv,
            model=model,
            random_seed=noise_seed,
            batch_size=batch_size,
            held_out=held_out,
            configuration=configuration,
            obj_optimizer=adam(learning_rate=learning_rate) if obj_optimizer is None else obj_optimizer,
            more_obj_params=self.get_params(),
            more_replacements={xs: batch},
            **kwargs,
        )
        approx.vae = self
        return approx

    def _minibatch(self, owner, images, batch_size, seed, scale, epochs):
        """Minibatches drawn uniformly with replacement, or with `epochs` shuffled anew in each."""
        if epochs is not None and batch_size > len(images):
            raise ConfigurationError(
                f"{owner}: batch_size={batch_size} is more than the {len(images)} images, so no minibatch of an epoch "
                f"is full: give batch_size={len(images)} or less, or n, a number of steps, in place of epochs"
            )
        sampler = "replacement" if epochs is None else "epochs"
        binarize = self.likelihood.binarizes_batches
        return Minibatch(images, batch_size, seed, sampler=sampler, scale=scale, binarize=binarize)

    def _check_fit(self, owner, kwargs):
        """Refuse what `fit` cannot pass on, and a model whose `get_params` forgets the likelihood's."""
        own = [name for name in kwargs if name in OF_THE_MODEL]
        if own:
            raise ConfigurationError(
                f"{owner}: {own[0]} is the model's own: leave it out, or give a pm.Model of yours to fastvae.fit"
            )
        _, *shown = inspect.signature(VAE.fit).parameters
        own = inspect.signature(inspect.unwrap(VAE.fit)).parameters
        passed_on = [name for name in shown if name not in own]
        training.check_names(owner, kwargs, [*passed_on, *training.UNUSED], shown)
        forgotten = [param.name for param in self.likelihood.get_params() if param not in self.get_params()]
        if forgotten:
            raise ConfigurationError(f"{owner}: get_params lacks {forgotten}: add self.likelihood.get_params() to it")

    @kinds.checked(images=kinds.anything)
    def encode_mean(self, images: Any) -> np.ndarray:
        """Posterior means, float32 (N, n_latent), of images (N, C, H, W), as `fastvae.datasets.as_images` takes them.

        Raises
        ------
        DataError
            If they are not such images, or of another shape than the model's.
        """
        return in_chunks(self._encode_mean, self._as_images(images))

    @kinds.checked(images=kinds.anything)
    def encode_sd(self, images: Any) -> np.ndarray:
        """Posterior standard deviations of the latents, float32 (N, n_latent), of images (N, C, H, W)."""
        return np.sqrt(np.diagonal(self.encode_covariance(images), axis1=1, axis2=2))

    @kinds.checked(images=kinds.anything)
    def encode_covariance(self, images: Any) -> np.ndarray:
        """Posterior covariances of the latents, float32 (N, n_latent, n_latent), of images (N, C, H, W)."""
        return self.posterior.covariance(in_chunks(self._encode_spread, self._as_images(images)))

    @kinds.checked(z=kinds.anything)
    def decode_mean(self, z: Any) -> np.ndarray:
        """Mean images, float32 (N, C, H, W), of latents, float (N, n_latent).

        Raises
        ------
        DataError
            If the latents are not floats, of another shape, none, or not finite.
        """
        source = f"{type(self).__name__}: latents"
        z = in_type(z, "float32", source)
        if z.shape[1:] != (self.n_latent,):
            raise DataError(f"{source}: found shape {z.shape}, the model takes (N, {self.n_latent})")
        return in_chunks(self._decode_mean, z)

    @kinds.checked(images=kinds.anything)
    def reconstruct(self, images: Any) -> np.ndarray:
        """Mean images of the posterior means of images, float32 (N, C, H, W)."""
        return self.decode_mean(self.encode_mean(images))

    @kinds.checked(start=kinds.anything, end=kinds.anything, n=kinds.integer(2, kinds.LARGEST_SIZE))
    def interpolate(self, start: Any, end: Any, n: int = 10) -> np.ndarray:
        """Mean images of n latents on the straight line between the posterior means of two images.

        Parameters
        ----------
        start, end : array, (C, H, W)
        n : int
            At least 2: the first is the reconstruction of `start`, the last that of `end`.

        Returns
        -------
        numpy.ndarray, float32 (n, C, H, W)

        Examples
        --------
        >>> from fastvae.models import MLPVAE
        >>> MLPVAE(image_shape=(1, 4, 4), hidden=8).interpolate(np.zeros((1, 4, 4)), np.ones((1, 4, 4)), n=5).shape
        (5, 1, 4, 4)
        """
        first, last = self.encode_mean([start, end])
        share = np.linspace(0, 1, n, dtype=np.float32)[:, None]
        return self.decode_mean((1 - share) * first + share * last)

    @kinds.checked(n=kinds.size, seed=RNG)
    def sample(self, n: int, seed: int | np.random.Generator | None = None) -> np.ndarray:
        """Mean images, float32 (n, C, H, W), of latents drawn from the prior Normal(0, 1); `seed` repeats them."""
        rng = generator(f"{type(self).__name__}.sample", seed)
        return self.decode_mean(rng.standard_normal((n, self.n_latent), dtype=np.float32))

    @kinds.checked(path=kinds.path)
    def save(self, path: str | os.PathLike) -> None:
        """Write parameters and state to `path` (.npz, no pickle), replacing the file at once or not at all.

        Raises
        ------
        DataError
            If a parameter is not finite or the path cannot be written.
        """
        params = [(variable.name, variable.get_value()) for variable in [*self.get_params(), *self.get_state()]]
        persistence.write(path, full_name(type(self)), self.config, params)

    @kinds.checked(path=kinds.path)
    def export(self, path: str | os.PathLike) -> None:
        """Write weights and configuration for other programs: a plain .npz, each array under its parameter's name.

        The names and layouts are those that `fastvae.models.exporting` documents. To go on with the model in fastvae,
        use `save`.

        Raises
        ------
        DataError
            If a parameter is not finite or the path cannot be written.
        ConfigurationError
            If a parameter has no name, or several have one name.

        Examples
        --------
        >>> import tempfile
        >>> from fastvae.models import MLPVAE
        >>> path = os.path.join(tempfile.mkdtemp(), "weights.npz")
        >>> MLPVAE(image_shape=(1, 4, 4), hidden=8).export(path)
        >>> np.load(path)["encoder.dense1.weight"].shape
        (16, 8)
        """
        exporting.write(path, self)

    @kinds.checked(path=kinds.path)
    def load_params(self, path: str | os.PathLike) -> None:
        """Set the parameters to those that `save` wrote to `path` for a model of the same class and shapes.

        Raises
        ------
        DataError
            If the file cannot be read or holds another model's parameters; the model is then unchanged.
        """
        self.set_params(path, persistence.read(path))

    def set_params(self, path: str | os.PathLike, contents: persistence.Contents) -> None:
        """Set the parameters to the `contents` that `persistence.read(path)` returned."""
        params, state = self.get_params(), self.get_state()
        if state and len(contents.params) == len(params):
            logging.getLogger("fastvae").warning(
                "%s holds no running statistics, which an older version did not save: %s keep their values", path, state
            )
            state = []
        persistence.fill([*params, *state], type(self), path, contents)

    @cached_property
    def amortised(self) -> importance.Amortised:
        """The compiled functions of `fastvae.evaluation.importance`, which see new parameters at once."""
        return importance.of_vae(self)

    @cached_property
    def _encode_mean(self):
        x = tt.tensor4("images", dtype="float32")
        return InTurn(theano.function([x], in_evaluation(self.encode(x)[0], [x])))

    @cached_property
    def _encode_spread(self):
        x = tt.tensor4("images", dtype="float32")
        return InTurn(theano.function([x], in_evaluation(self.encode(x)[1], [x])))

    @cached_property
    def _decode_mean(self):
        z = tt.matrix("z", dtype="float32")
        return InTurn(theano.function([z], in_evaluation(self.decode(z), [z])))

    @kinds.checked(images=kinds.anything, owner=kinds.text, keep_bytes=kinds.boolean)
    def training_images(self, images: Any, owner: str, keep_bytes: bool = True) -> Any:
        """Images to train on or judge by, as the model takes them.

        Parameters
        ----------
        images : array or rows on disk
            As `fit` takes them.
        owner : str
            Who asks, for an error message.
        keep_bytes : bool
            Whether uint8 stays uint8.

        Returns
        -------
        numpy.ndarray or fastvae.datasets.rows.Rows
            Float32 in [0, 1] or uint8, (N, C, H, W). Rows on disk are checked as they are read.

        Raises
        ------
        DataError
            If they are not such images, not of the model's shape, or not what the likelihood takes.
        """
        return to_train_on(images, self.image_shape, self.likelihood, owner, keep_bytes)

    def checked_images(self, images: Any, owner: str) -> np.ndarray:
        """Images for judging the model, float32 (N, C, H, W) in [0, 1], as its likelihood takes them."""
        images = as_model_takes(images, self.image_shape, owner)
        self.likelihood.check(images, owner)
        return images

    def _as_images(self, images):
        return as_model_takes(images, self.image_shape, f"{type(self).__name__}: images")
