"""The two models: MLPVAE and ConvVAE, and `load`, which builds them again from a parameter file.

Examples
--------
>>> vae = ConvVAE()
>>> vae.stages[2]
Stage(name='encoder.conv3', kind='Conv2D', output_shape=(64, 24, 24))
>>> [parameter.name for parameter in vae.get_params()[:2]]
['encoder.conv1.weight', 'encoder.conv1.bias']
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastvae import kinds, nn
from fastvae.arguments import PADDING, RNG, generator
from fastvae.distributions.likelihood import Likelihood
from fastvae.distributions.posterior import Posterior
from fastvae.errors import ConfigurationError, DataError
from fastvae.models import persistence
from fastvae.models.persistence import full_name
from fastvae.models.vae import VAE
from fastvae.profiles import memory

__all__ = ["ConvVAE", "MLPVAE", "VAE", "load"]


NORMALIZATIONS = ("batch",)
POOLINGS = ("max", "average")
#: What both models take beside the rest.
HIDDEN = dict(activation=kinds.choice(*nn.ACTIVATIONS), normalization=kinds.optional(kinds.choice(*NORMALIZATIONS)))


def _three(value):
    """`value` for each of the three convolutions: the same for all, or one each."""
    if isinstance(value, (tuple, list)) and len(value) != 2:
        if len(value) != 3:
            raise ValueError
        return tuple(value)
    return (value,) * 3


def _for_convolutions(kind):
    """What a convolution takes, or a list of three of these."""

    def standard(value):
        for one in _three(value):
            kind.standard(one)
        return value

    return kinds.Kind(f"three of {kind.name}", f"{kind.words}, or three of these, one for each convolution", standard)


class Stage(NamedTuple):
    """One layer of a model: its name, its kind and the shape of one output."""

    name: str
    kind: str
    output_shape: tuple[int, ...]


class _LayeredVAE(VAE):
    """A VAE of two chains of layers, `encoder` and `decoder`; the encoder's output is mean and spread side by side."""

    def _set_layers(self, encoder, decoder):
        self.encoder, self.decoder = encoder, decoder
        self.stages = _stages(encoder, self.image_shape) + _stages(decoder, (self.n_latent,))

    def _set_hidden(self, activation, normalization):
        self._activation, self._normalization = nn.ACTIVATIONS[activation], normalization
        if normalization is not None:  # a file without it is of a network without it
            self.config["normalization"] = normalization

    def _hidden(self, kind, *args, name, **options):
        """A hidden layer with its activation; where it is normalised, that comes in between and shifts in its place."""
        if self._normalization is None:
            return [kind(*args, activation=self._activation, name=name, **options)]
        layer = kind(*args, bias=None, name=name, **options)
        return [layer, nn.BatchNorm(layer.n_out, self._activation, name=f"{name}.norm")]

    def encode(self, x):
        latent = _chain(self.encoder, x)
        return latent[:, : self.n_latent], self.posterior.spread(latent[:, self.n_latent :], self.n_latent)

    def decode_output(self, z):
        return _chain(self.decoder, z)

    def decode(self, z):
        return self.likelihood.mean(self.decode_output(z))

    def get_params(self):
        parts = [*self.encoder, *self.decoder, self.likelihood]
        return [parameter for part in parts for parameter in part.get_params()]

    @property
    def _n_encoded(self):
        """Outputs of the encoder: the mean and what the posterior takes beside it."""
        return self.n_latent + self.posterior.n_spread(self.n_latent)

    @property
    def _decoded_shape(self):
        """The shape of one output of the decoder, as the likelihood takes it."""
        shape = self.likelihood.output_shape(self.image_shape)
        if isinstance(shape, np.ndarray):
            shape = shape.tolist()
        owner = f"{type(self).__name__}: the likelihood {self.likelihood!r}"
        return kinds.shape_of_images.check(owner, f"output_shape({self.image_shape})", shape)


class MLPVAE(_LayeredVAE):
    """The fully connected VAE: pixels-hidden-(mean, rho), latents-hidden-pixels; the decoder mirrors the encoder.

    Parameters
    ----------
    image_shape : (int, int, int), optional
        Channels (1 or 3), rows and columns.
    n_latent : int, optional
        Latent variables of an image.
    hidden : int or tuple of int, optional
        Units of the hidden layer of each half, or of its several, from the images to the latents.
    activation : str, optional
        After every layer but the last of each half, a name of `fastvae.nn.ACTIVATIONS`: ``"relu"``, ``"leaky_relu"``,
        ``"elu"``, ...
    likelihood, posterior : optional
        See `fastvae.VAE`: the last layer of the decoder is made for the one, of the encoder for the other.
    seed : int or numpy.random.Generator, optional
        Of the initial parameters; by default fresh entropy.
    normalization : {None, "batch"}, optional
        ``"batch"`` puts a `fastvae.nn.BatchNorm` before every activation, in place of the layer's bias.

    Attributes
    ----------
    stages : list of Stage
        Name, kind and output shape of every layer, encoder first.

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain.

    Examples
    --------
    >>> sum(p.get_value().size for p in MLPVAE().get_params())
    202516
    """

    @kinds.checked(
        VAE.__init__,
        hidden=kinds.either(kinds.size, kinds.sequence(kinds.size, "these, one for each hidden layer", 1)),
        seed=RNG,
        **HIDDEN,
    )
    @memory.explained
    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        n_latent: int = 2,
        hidden: int | Sequence[int] = 128,
        activation: str = "relu",
        likelihood: str | dict | Likelihood = "normal",
        posterior: str | Posterior = "mean-field",
        seed: int | np.random.Generator | None = None,
        normalization: str | None = None,
    ) -> None:
        super().__init__(image_shape, n_latent, likelihood, posterior)
        _check_channels("MLPVAE", self.image_shape)
        layers = hidden if isinstance(hidden, list) else [hidden]
        self.config.update(hidden=layers if len(layers) > 1 else layers[0], activation=activation)
        self._set_hidden(activation, normalization)
        rng = generator("MLPVAE", seed)

        def dense(half, sizes, last):
            names = [f"{half}.dense{k}" for k in range(1, len(sizes))]
            inner = zip(sizes[:-2], sizes[1:], names)
            made = [layer for i, o, name in inner for layer in self._hidden(nn.Linear, i, o, name=name, rng=rng)]
            return [*made, nn.Linear(*sizes[-2:], last, name=names[-1], rng=rng)]

        encoded = dense("encoder", [math.prod(self.image_shape), *layers, self._n_encoded], nn.identity)
        outputs = math.prod(self._decoded_shape)
        decoded = dense("decoder", [self.n_latent, *reversed(layers), outputs], self.likelihood.activation)
        self._set_layers(
            [nn.Flatten(name="encoder.flatten"), *encoded],
            [*decoded, nn.Reshape(self._decoded_shape, name="decoder.reshape")],
        )


class ConvVAE(_LayeredVAE):
    """The convolutional VAE of the PyMC3 blog post; the decoder mirrors the encoder.

    Encoder: three convolutions (3x3, 1x1, 3x3), flatten, dense, dense (mean, rho). Decoder: dense, dense,
    reshape, three transposed convolutions, and for a Normal likelihood a sigmoid. An activation after every layer but
    the last of each half.

    Parameters
    ----------
    image_shape : (int, int, int), optional
        Channels (1 or 3), rows and columns.
    n_latent : int, optional
        Latent variables of an image.
    filters : int, optional
        Filters of every convolution.
    hidden : int, optional
        Units of the dense layer of each half.
    kernels : int, (int, int), or three of these, optional
        Rows and columns of the kernels of the three convolutions: one for all, or one each.
    strides : int, (int, int), or three of these, optional
        Stride of the three convolutions: one for all, or one each. By default 1, with `pooling` (2, 1, 2).
    padding : {"valid", "same"}, int, (int, int), or three of these, optional
        Padding of the three convolutions (see `fastvae.nn.Conv2D`): one for all, or one each. By default 0, with
        `pooling` ``"same"``.
    likelihood, posterior : optional
        See `fastvae.VAE`: the last layer of the decoder is made for the one, of the encoder for the other.
    seed : int or numpy.random.Generator, optional
        Of the initial parameters; by default fresh entropy.
    activation : str, optional
        After every layer but the last of each half, a name of `fastvae.nn.ACTIVATIONS`: ``"relu"``, ``"leaky_relu"``,
        ``"elu"``, ...
    normalization : {None, "batch"}, optional
        ``"batch"`` puts a `fastvae.nn.BatchNorm` before every activation, in place of the layer's bias.
    pooling : {None, "max", "average"}, optional
        What takes the place of the strides: the convolutions have stride 1, a pooling whose windows are as large as the
        stride follows each of those with a stride, and in the decoder nearest-neighbour upsampling comes before the
        transposed convolution.

    Attributes
    ----------
    stages : list of Stage
        Name, kind and output shape of every layer, encoder first.

    Raises
    ------
    ConfigurationError
        If an argument is out of its domain, the images are too small, or the strides leave a
        remainder, so that the decoder would return another size than the encoder takes; with `pooling` also if all
        strides are 1.

    Examples
    --------
    >>> vae = ConvVAE((3, 64, 64), filters=8, hidden=32, kernels=(4, 1, 4), strides=(2, 1, 2), padding=(1, 0, 1))
    >>> [stage.output_shape for stage in vae.stages[:4]]
    [(8, 32, 32), (8, 32, 32), (8, 16, 16), (2048,)]
    >>> vae = ConvVAE(filters=8, hidden=32, normalization="batch", pooling="max")
    >>> [stage.kind for stage in vae.stages[:4]], vae.stages[7].output_shape
    (['Conv2D', 'BatchNorm', 'MaxPool2D', 'Conv2D'], (8, 7, 7))
    """

    @kinds.checked(
        VAE.__init__,
        filters=kinds.size,
        hidden=kinds.size,
        kernels=_for_convolutions(kinds.pair),
        strides=kinds.optional(_for_convolutions(kinds.pair)),
        padding=kinds.optional(_for_convolutions(PADDING)),
        seed=RNG,
        pooling=kinds.optional(kinds.choice(*POOLINGS)),
        **HIDDEN,
    )
    @memory.explained
    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        n_latent: int = 2,
        filters: int = 64,
        hidden: int = 128,
        kernels: int | Sequence = (3, 1, 3),
        strides: int | Sequence | None = None,
        padding: int | str | Sequence | None = None,
        likelihood: str | dict | Likelihood = "normal",
        posterior: str | Posterior = "mean-field",
        seed: int | np.random.Generator | None = None,
        activation: str = "relu",
        normalization: str | None = None,
        pooling: str | None = None,
    ) -> None:
        super().__init__(image_shape, n_latent, likelihood, posterior)
        _check_channels("ConvVAE", self.image_shape)
        rng = generator("ConvVAE", seed)
        if strides is None:
            strides = 1 if pooling is None else (2, 1, 2)
        if padding is None:
            padding = 0 if pooling is None else "same"
        steps = [
            (*map(kinds.pair.standard, sizes), pad)
            for *sizes, pad in zip(_three(kernels), _three(strides), _three(padding))
        ]
        self._set_hidden(activation, normalization)
        self._set_pooling(pooling, steps)

        encoder = self._convolutions(steps, filters, rng)
        convolutions = [layer for layer in encoder if isinstance(layer, nn.Conv2D)]
        self.config.update(
            filters=filters,
            hidden=hidden,
            kernels=[layer.kernel for layer in convolutions],
            strides=[stride for _, stride, _ in steps],
            padding=[layer.padding for layer in convolutions],
        )
        if activation != "relu":
            self.config["activation"] = activation
        maps = _stages(encoder, self.image_shape)[-1].output_shape
        encoder += [
            nn.Flatten(name="encoder.flatten"),
            *self._hidden(nn.Linear, math.prod(maps), hidden, name="encoder.dense1", rng=rng),
            nn.Linear(hidden, self._n_encoded, name="encoder.dense2", rng=rng),
        ]
        decoder = [
            *self._hidden(nn.Linear, self.n_latent, hidden, name="decoder.dense1", rng=rng),
            *self._hidden(nn.Linear, hidden, math.prod(maps), name="decoder.dense2", rng=rng),
            nn.Reshape(maps, name="decoder.reshape"),
            *self._transposed_convolutions(steps, filters, rng),
        ]
        self._set_layers(encoder, decoder)
        decoded = self.stages[-1].output_shape
        if decoded != self._decoded_shape:
            one = "" if pooling is None else " + 1"
            raise ConfigurationError(
                f"ConvVAE: with kernels={kernels!r}, strides={strides!r} and padding={padding!r} images of shape "
                f"{self.image_shape} become feature maps {maps}, which the decoder takes back to {decoded}: choose "
                f"sizes for which (size + 2 padding - kernel{one}) is a multiple of the stride at each convolution"
            )

    def _set_pooling(self, pooling, steps):
        self._pooling = {None: None, "max": nn.MaxPool2D, "average": nn.AveragePool2D}[pooling]
        if pooling is not None:
            self.config["pooling"] = pooling
            if all(stride == (1, 1) for _, stride, _ in steps):
                raise ConfigurationError(
                    f"ConvVAE: pooling={pooling!r} takes the place of strides, and all are 1: give some, such as "
                    "strides=(2, 1, 2)"
                )

    def _convolutions(self, steps, filters, rng):
        """The encoder's, for kernel, stride and padding of each, with poolings in place of strides if there are any."""
        layers = []
        n_in = [self.image_shape[0], *[filters] * len(steps)]
        for i, (n, (kernel, stride, pad)) in enumerate(zip(n_in, steps), 1):
            taken = stride if self._pooling is None else 1
            name = f"encoder.conv{i}"
            layers += self._hidden(nn.Conv2D, n, filters, kernel, stride=taken, padding=pad, name=name, rng=rng)
            if self._pooling is not None and stride != (1, 1):
                layers.append(self._pooling(stride, name=f"encoder.pool{i}"))
        return layers

    def _transposed_convolutions(self, steps, filters, rng):
        """The decoder's, in the opposite order, the last of them with as many channels as the likelihood takes.

        Where the likelihood takes an output for each block of pixels, a convolution of blocks comes last instead.
        """
        channels, *size = self._decoded_shape
        last = channels, self.likelihood.activation
        block = tuple(pixels // outputs for pixels, outputs in zip(self.image_shape[1:], size))
        if [outputs * pixels for outputs, pixels in zip(size, block)] != list(self.image_shape[1:]):
            raise ConfigurationError(
                f"ConvVAE: the likelihood {self.likelihood!r} takes {size[0]} x {size[1]} outputs for images of shape "
                f"{self.image_shape}, which is not a whole number of pixels for each: take MLPVAE, or other images"
            )
        layers = []
        for i, (kernel, stride, pad) in enumerate(reversed(steps), 1):
            if self._pooling is not None and stride != (1, 1):
                layers.append(nn.Upsample2D(stride, name=f"decoder.upsample{i}"))
                stride = 1
            common = dict(stride=stride, padding=pad, name=f"decoder.conv_transpose{i}", rng=rng)
            if i == len(steps) and block == (1, 1):
                layers.append(nn.ConvTranspose2D(filters, last[0], kernel, last[1], **common))
            else:
                layers += self._hidden(nn.ConvTranspose2D, filters, filters, kernel, **common)
        if block != (1, 1):
            layers.append(nn.Conv2D(filters, channels, block, last[1], block, name="decoder.blocks", rng=rng))
        return layers


BUILT_IN = (ConvVAE, MLPVAE)


@kinds.checked(path=kinds.path)
def load(path: str | os.PathLike) -> ConvVAE | MLPVAE:
    """The ConvVAE or MLPVAE that `vae.save(path)` wrote, bit for bit.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    ConvVAE or MLPVAE

    Raises
    ------
    DataError
        If the file cannot be read, or holds a model of another class (use `load_params` on an
        instance of that).

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "vae.npz")
    >>> vae = MLPVAE(image_shape=(1, 4, 4), hidden=8)
    >>> vae.save(path)
    >>> all((a.get_value() == b.get_value()).all() for a, b in zip(vae.get_params(), load(path).get_params()))
    True
    """
    contents = persistence.read(path)
    classes = {full_name(cls): cls for cls in BUILT_IN}
    if contents.model_class not in classes:
        raise DataError(
            f"{path}: holds a {contents.model_class}, which fastvae.load cannot build (it builds "
            f"{', '.join(cls.__name__ for cls in BUILT_IN)}): make the instance yourself and call its load_params(path)"
        )
    try:
        vae = classes[contents.model_class](**{**contents.config, "seed": _Limited(contents)})
    except (ConfigurationError, TypeError, ValueError, ArithmeticError) as error:
        raise DataError(
            f"{path}: its model cannot be built ({error}): make the instance yourself and call its load_params(path), "
            "or save the model again"
        ) from error
    vae.set_params(path, contents)
    return vae


class _Limited(np.random.Generator):
    """A generator of initial parameters that draws no more of them than a parameter file holds.

    A file can announce layers of any size; they are held against its arrays before memory is taken for them. Small ones
    are let through: `set_params` says more of what does not fit.
    """

    SMALL = 2**20

    def __init__(self, contents):
        super().__init__(np.random.PCG64(0))
        self._left = max(self.SMALL, sum(value.size for _, value in contents.params))

    def random(self, size, dtype):
        self._left -= math.prod(size)
        if self._left < 0:
            raise ConfigurationError(f"its configuration is of more parameters than it holds, one of shape {size}")
        return super().random(size, dtype)


def _chain(layers, x):
    for layer in layers:
        x = layer(x)
    return x


def _stages(layers, shape):
    stages = []
    for layer in layers:
        shape = layer.output_shape(shape)
        stages.append(Stage(layer.name, type(layer).__name__, shape))
    return stages


def _check_channels(owner, image_shape):
    if image_shape[0] not in (1, 3):
        raise ConfigurationError(
            f"{owner}: image_shape={image_shape!r} has {image_shape[0]} channels; it must be (1 or 3, rows, columns)"
        )
