"""VAE: the protocol (encode, decode, get_params) and what every model that keeps it can do.

    encode(x) -> (mean, rho)   images to the posterior of the latents; its sd is softplus(rho), as in PyMC3
    decode(z) -> x_mean        latents to the mean image
    get_params()               every parameter, in a stable order

On top of these three `VAE` has the numpy side: encode_mean, decode_mean, reconstruct, sample, and
parameter files: save, load_params.

Examples
--------
>>> from fastvae.models import MLPVAE
>>> vae = MLPVAE(image_shape=(1, 8, 8), n_latent=2, hidden=16, seed=0)
>>> vae.encode_mean(np.zeros((5, 1, 8, 8), "float32")).shape
(5, 2)
>>> vae.sample(3, seed=0).shape
(3, 1, 8, 8)
"""
import abc
import numbers
from functools import cached_property

import numpy as np
import theano
import theano.tensor as tt

from fastvae import elbo, persistence, training
from fastvae.datasets import as_images
from fastvae.errors import DataError
from fastvae.minibatch import Minibatch
from fastvae.nn.arguments import generator, integer, shape_of_images
from fastvae.optimizers import adam
from fastvae.sources import Rows

CHUNK = 500  # images in one call of a compiled function: bounds the memory that activations take


class VAE(abc.ABC):
    """A variational auto-encoder in Theano: subclass it and provide `encode`, `decode` and `get_params`.

    Parameters
    ----------
    image_shape : (int, int, int)
        Channels, rows and columns of an image.
    n_latent : int
        Latent variables of an image.

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

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

    def __init__(self, image_shape, n_latent):
        owner = type(self).__name__
        self.image_shape = shape_of_images(owner, "image_shape", image_shape)
        self.n_latent = integer(owner, "n_latent", n_latent)
        self.config = {"image_shape": self.image_shape, "n_latent": self.n_latent}

    @abc.abstractmethod
    def encode(self, x):
        """The posterior (mean, rho), each a float32 expression (batch, n_latent), of images (batch, C, H, W)."""

    @abc.abstractmethod
    def decode(self, z):
        """The mean images, a float32 expression (batch, C, H, W), of latents (batch, n_latent)."""

    @abc.abstractmethod
    def get_params(self):
        """Every parameter (shared variable), in a stable order."""

    def fit(
        self,
        images,
        n=None,
        batch_size=64,
        learning_rate=1e-4,
        seed=None,
        *,
        epochs=None,
        sd=0.1,
        obj_optimizer=None,
        total_grad_norm_constraint=None,
        score=None,
        callbacks=None,
        progressbar=True,
        held_out=None,
        held_out_every=1_000,
        patience=None,
        bad_steps="stop",
        history=None,
        checkpoint=None,
        checkpoint_every=1_000,
        resume=False,
        **options,
    ):
        """Train on images by maximising the ELBO (see `fastvae.elbo`), from the parameters as they are.

        Parameters
        ----------
        images : array or fastvae.sources.Rows, (N, C, H, W)
            Floats in [0, 1] or uint8, which stay uint8 in memory and are divided by 255 within the step. Rows on disk
            (`fastvae.on_disk`) are streamed.
        n : int, optional
            Steps, those of a resumed run included; by default 10,000.
        batch_size : int
            Images in a minibatch: drawn uniformly with replacement, or with `epochs` shuffled anew in each.
        learning_rate : float, theano scalar or schedule of `fastvae.schedules`
            Of Adam.
        seed : int, optional
            Seeds minibatches and noise: with the model's own seed, a run repeats exactly. By default fresh entropy.
        epochs : int, optional
            In place of `n`: times that every image is seen (images that do not fill a minibatch sit out an epoch).
        sd : float
            Standard deviation of a pixel around the decoder's mean.
        obj_optimizer : callable, optional
            Takes the place of `fastvae.adam(learning_rate=learning_rate)`.
        total_grad_norm_constraint : float, optional
            Largest 2-norm of the whole gradient, to which it is scaled down; by default as it comes.
        held_out : array, (M, C, H, W), optional
            Images as the first ones, but not among them, on which to measure the ELBO during the fit.
        score, callbacks, progressbar, held_out_every, patience, bad_steps : optional
        history, checkpoint, checkpoint_every, resume : optional
            As in `fastvae.fit`.
        **options
            `objective`, `kl`, `n_samples`, `kl_weight`, `estimator` of `fastvae.fit`. The decoder takes all samples as
            one batch of n_samples * batch_size latents.

        Returns
        -------
        pymc3.Approximation
            With `.hist`, the losses in nats per minibatch, and the other attributes that `fastvae.fit` gives it.

        Raises
        ------
        DataError
            If the images are not of the model's shape, not in [0, 1] or not finite, or a checkpoint cannot be written.
        ConfigurationError
            If another argument is out of its domain.
        NonFiniteError
            If the loss or a parameter stops being finite.

        Notes
        -----
        Not for a likelihood or prior of your own: write a `pm.Model` and give it to `fastvae.fit`.

        Examples
        --------
        >>> from fastvae.models import MLPVAE
        >>> vae = MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
        >>> approx = vae.fit(np.zeros((20, 1, 4, 4), "float32"), n=3, batch_size=5, seed=1, progressbar=False)
        >>> approx.hist.shape
        (3,)
        """
        owner = f"{type(self).__name__}.fit"
        images = self._to_train_on(images, owner)
        scale = 1 / 255 if images.dtype == np.uint8 else None
        batch_size = integer(owner, "batch_size", batch_size)
        minibatch_seed, noise_seed = (int(word) for word in generator(owner, seed).integers(1, 2**31 - 1, size=2))
        model, local_rv, xs = elbo.vae_model(self, batch_size, len(images), sd)
        if held_out is not None:
            held_out = {xs: self._checked("held-out images", as_images(held_out, owner), self.image_shape)}
        order = "replacement" if epochs is None else "epochs"
        rate = learning_rate if isinstance(learning_rate, numbers.Real) else "scheduled"
        configuration = {
            "model": {"class": full_name(type(self)), **self.config},
            "images": len(images),
            "batch_size": batch_size,
            "learning_rate": rate if obj_optimizer is None else "of the obj_optimizer",
            "sd": sd,
            "seed": seed,
            "order": order,
        }
        return training.fit(
            n,
            local_rv,
            model=model,
            random_seed=noise_seed,
            epochs=epochs,
            score=score,
            callbacks=callbacks,
            progressbar=progressbar,
            batch_size=batch_size,
            held_out=held_out,
            held_out_every=held_out_every,
            patience=patience,
            bad_steps=bad_steps,
            history=history,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
            configuration=configuration,
            obj_optimizer=adam(learning_rate=learning_rate) if obj_optimizer is None else obj_optimizer,
            total_grad_norm_constraint=total_grad_norm_constraint,
            more_obj_params=self.get_params(),
            more_replacements={xs: Minibatch(images, batch_size, minibatch_seed, order=order, scale=scale)},
            **{"fold": True, **options},
        )

    def encode_mean(self, images):
        """Posterior means, float32 (N, n_latent), of images, float (N, C, H, W).

        Raises
        ------
        DataError
            If the images are not floats, of another shape, none, or not finite.
        """
        return _in_chunks(self._encode_mean, self._checked("images", images, self.image_shape))

    def decode_mean(self, z):
        """Mean images, float32 (N, C, H, W), of latents, float (N, n_latent).

        Raises
        ------
        DataError
            If the latents are not floats, of another shape, none, or not finite.
        """
        return _in_chunks(self._decode_mean, self._checked("latents", z, (self.n_latent,)))

    def reconstruct(self, images):
        """Mean images of the posterior means of images, float32 (N, C, H, W)."""
        return self.decode_mean(self.encode_mean(images))

    def sample(self, n, seed=None):
        """Mean images, float32 (n, C, H, W), of latents drawn from the prior Normal(0, 1); `seed` repeats them."""
        rng = generator(f"{type(self).__name__}.sample", seed)
        n = integer(f"{type(self).__name__}.sample", "n", n)
        return self.decode_mean(rng.standard_normal((n, self.n_latent), dtype=np.float32))

    def save(self, path):
        """Write the parameters to `path` (.npz, no pickle), replacing the file at once or not at all.

        Raises
        ------
        DataError
            If a parameter is not finite or the path cannot be written.
        """
        params = [(parameter.name, parameter.get_value()) for parameter in self.get_params()]
        persistence.write(path, full_name(type(self)), self.config, params)

    def load_params(self, path):
        """Set the parameters to those that `save` wrote to `path` for a model of the same class and shapes.

        Raises
        ------
        DataError
            If the file cannot be read or holds another model's parameters; the model is then unchanged.
        """
        self.set_params(path, persistence.read(path))

    def set_params(self, path, contents):
        """Set the parameters to the `contents` that `persistence.read(path)` returned."""
        if contents.model_class != full_name(type(self)):
            raise DataError(
                f"{path}: holds the parameters of a {contents.model_class}, not of a {full_name(type(self))}: "
                "load it into a model of its own class"
            )
        mine = {_label(index, p.name): p for index, p in enumerate(self.get_params())}
        found = {_label(index, name): value for index, (name, value) in enumerate(contents.params)}
        missing, unknown = sorted(mine.keys() - found.keys()), sorted(found.keys() - mine.keys())
        if missing or unknown:
            raise DataError(
                f"{path}: lacks parameters {missing} and has unknown ones {unknown}: it was saved by a model built "
                "differently"
            )
        for label, parameter in mine.items():
            shape = parameter.get_value(borrow=True).shape
            if found[label].shape != shape or found[label].dtype != parameter.dtype:
                raise DataError(
                    f"{path}: parameter {label} is {found[label].dtype} {found[label].shape}, the model's is "
                    f"{parameter.dtype} {shape}: it was saved by a model built differently"
                )
        for label, parameter in mine.items():
            parameter.set_value(found[label])

    @cached_property
    def _encode_mean(self):
        x = tt.tensor4("images", dtype="float32")
        return theano.function([x], self.encode(x)[0])

    @cached_property
    def _decode_mean(self):
        z = tt.matrix("z", dtype="float32")
        return theano.function([z], self.decode(z))

    def _to_train_on(self, images, owner):
        """Images, float32 or uint8, or rows on disk of these, of the model's shape."""
        if not isinstance(images, Rows):
            images = as_images(images, owner, keep_bytes=True)
        if images.shape[1:] != self.image_shape or images.dtype not in (np.uint8, np.float32):
            raise DataError(
                f"{owner}: found images of {images.dtype} {images.shape}, the model takes float32 or uint8 (N, "
                f"{', '.join(map(str, self.image_shape))}): convert them, or build a model of their shape"
            )
        return images

    def _checked(self, what, values, shape):
        """`values` as a float32 array (N, *shape) of finite numbers."""
        values = np.asarray(values)
        if values.dtype.kind != "f":
            raise DataError(
                f"{type(self).__name__}: the {what} are {values.dtype}, not floats: convert them first (uint8 images: "
                "divide by 255)"
            )
        if values.shape[1:] != shape or values.ndim != len(shape) + 1 or not len(values):
            wanted = ", ".join(map(str, shape))
            raise DataError(f"{type(self).__name__}: the {what} are {values.shape}, not (N, {wanted}) with N >= 1")
        values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise DataError(f"{type(self).__name__}: the {what} hold NaN or infinity: clean them first")
        return values


def full_name(cls):
    """The name under which a parameter file keeps the class, for example ``"fastvae.models.ConvVAE"``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _label(index, name):
    return f"{index} ({name})"


def _in_chunks(function, values):
    return np.concatenate([function(values[start : start + CHUNK]) for start in range(0, len(values), CHUNK)])
