"""Networks as users bring them, as lists of layers: batch norm, pooling, upsampling, residual blocks, activations.

Each is described once, without Theano or PyTorch: `bench/theano_network.py` writes it out in plain Theano for stock and
fastvae, `bench/peers/torch_network.py` in PyTorch. Weights come in the order in which `initial_weights` makes them.

    pooled       28x28x1: two convolutions with max-pooling, two with nearest upsampling, leaky ReLU and ELU
    pooled-bn    the same with batch norm behind each convolution but the last
    residual     64x64x3: residual blocks with batch norm at four resolutions, average pooling, bilinear upsampling
    notebook     28x28x1: that of PyMC3's notebook on convolutional VAEs, Keras layers written out
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Conv(NamedTuple):
    """A convolution with zeros around the image; `crop` keeps so many rows and columns, from the first on."""

    n_in: int
    n_out: int
    kernel: int
    stride: int = 1
    padding: int = 0
    bias: bool = True
    crop: int | None = None


class ConvTransposed(NamedTuple):
    """The adjoint of a convolution: images of `size` rows and columns."""

    n_in: int
    n_out: int
    kernel: int
    size: int
    stride: int = 1
    padding: int = 0


class Dense(NamedTuple):
    n_in: int
    n_out: int


class BatchNorm(NamedTuple):
    """Over batch, rows and columns, with the statistics of the minibatch."""

    n: int


class Activation(NamedTuple):
    """ "relu", "leaky relu" (slope 0.2), "elu" or "sigmoid"."""

    name: str


class Pool(NamedTuple):
    """Of 2 x 2 pixels, "max" or "average"."""

    mode: str


class Upsample(NamedTuple):
    """To twice the rows and columns, "nearest" or "bilinear"; the latter keeps pixel i as pixel 2 i."""

    mode: str


class Flatten(NamedTuple):
    pass


class Reshape(NamedTuple):
    shape: tuple


class Residual(NamedTuple):
    """The sum of two branches."""

    main: tuple
    shortcut: tuple


class Network(NamedTuple):
    """`encoder` ends with 2 n_latent numbers an image, mean and rho; `decoder` with the mean image.

    `agreement` is how far the losses of two programs may be apart, relatively. Where batch norm puts many values close
    to a kink or a tie, rounding alone drives them apart: stock with one thread and with two by as much.
    """

    image_shape: tuple
    n_latent: int
    batch_size: int
    encoder: tuple
    decoder: tuple
    agreement: float = 1e-4


def _pooled(normalized):
    def block(n_in, n_out):
        between = (BatchNorm(n_out),) if normalized else ()
        return (Conv(n_in, n_out, 3, padding=1, bias=not normalized), *between, Activation("leaky relu"))

    def dense(n_in, n_out):
        return Dense(n_in, n_out), Activation("elu")

    encoder = (
        *block(1, 32),
        Pool("max"),
        *block(32, 64),
        Pool("max"),
        Flatten(),
        *dense(64 * 49, 128),
        Dense(128, 16),
    )
    decoder = (
        *dense(8, 128),
        *dense(128, 64 * 49),
        Reshape((64, 7, 7)),
        Upsample("nearest"),
        *block(64, 32),
        Upsample("nearest"),
        *block(32, 32),
        Conv(32, 1, 3, padding=1),
        Activation("sigmoid"),
    )
    return Network((1, 28, 28), 8, 64, encoder, decoder, agreement=1e-3)


def _residual_block(n_in, n_out):
    def convolution(n_in):
        return Conv(n_in, n_out, 3, padding=1, bias=False), BatchNorm(n_out)

    shortcut = () if n_in == n_out else (Conv(n_in, n_out, 1, bias=False),)
    main = (*convolution(n_in), Activation("leaky relu"), *convolution(n_out))
    return Residual(main, shortcut), Activation("leaky relu")


def _residual():
    stem = Conv(3, 32, 3, padding=1, bias=False), BatchNorm(32), Activation("leaky relu")
    down = [
        (*_residual_block(n_in, n_out), Pool("average")) for n_in, n_out in ((32, 32), (32, 64), (64, 64), (64, 128))
    ]
    up = [
        (Upsample("bilinear"), *_residual_block(n_in, n_out))
        for n_in, n_out in ((128, 64), (64, 64), (64, 32), (32, 32))
    ]
    encoder = (*stem, *(layer for level in down for layer in level), Flatten(), Dense(128 * 16, 128))
    decoder = (
        *(Dense(64, 128 * 16), Activation("leaky relu"), Reshape((128, 4, 4))),
        *(layer for level in up for layer in level),
        *(Conv(32, 3, 3, padding=1), Activation("sigmoid")),
    )
    return Network((3, 64, 64), 64, 32, encoder, decoder, agreement=3e-3)


def _notebook():
    relu = Activation("relu")
    encoder = (
        *(Conv(1, 1, 2, padding=1, crop=28), relu),
        *(Conv(1, 64, 2, stride=2, padding=1, crop=14), relu),
        *(Conv(64, 64, 3, padding=1), relu),
        *(Conv(64, 64, 3, padding=1), relu),
        *(Flatten(), Dense(64 * 14 * 14, 128), relu, Dense(128, 4)),
    )
    decoder = (
        *(Dense(2, 2), relu, Dense(2, 64 * 14 * 14), relu, Reshape((64, 14, 14))),
        *(ConvTransposed(64, 64, 3, 14, padding=1), relu),
        *(ConvTransposed(64, 64, 3, 14, padding=1), relu),
        *(ConvTransposed(64, 64, 2, 28, stride=2), relu),
        *(Conv(64, 1, 2, padding=1, crop=28), Activation("sigmoid")),
    )
    return Network((1, 28, 28), 2, 100, encoder, decoder)


NETWORKS = {"pooled": _pooled(False), "pooled-bn": _pooled(True), "residual": _residual(), "notebook": _notebook()}


def initial_weights(network: Network, rng: np.random.Generator) -> list[np.ndarray]:
    """Weights and biases of all layers, encoder first, float32.

    A dense weight is (in, out), a convolution's (out, in, rows, columns), a transposed one's (in, out, rows, columns);
    batch norm has a scale and a shift. Biases start a little off zero (see `bench/problem.py`).
    """
    return list(_weights([*network.encoder, *network.decoder], rng))


def _weights(layers, rng):
    def normal(sd, *shape):
        return rng.normal(0, sd, shape).astype("float32")

    for layer in layers:
        if isinstance(layer, Residual):
            yield from _weights([*layer.main, *layer.shortcut], rng)
        elif isinstance(layer, BatchNorm):
            yield 1 + normal(0.01, layer.n)
            yield normal(0.01, layer.n)
        elif isinstance(layer, Dense):
            yield normal(np.sqrt(1 / layer.n_in), layer.n_in, layer.n_out)
            yield normal(0.01, layer.n_out)
        elif isinstance(layer, (Conv, ConvTransposed)):
            kernel, transposed = (layer.kernel, layer.kernel), isinstance(layer, ConvTransposed)
            channels = (layer.n_in, layer.n_out) if transposed else (layer.n_out, layer.n_in)
            yield normal(np.sqrt(1 / (layer.n_in * layer.kernel**2)), *channels, *kernel)
            if transposed or layer.bias:
                yield normal(0.01, layer.n_out)
