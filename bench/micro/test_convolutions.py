"""The seed model's convolutions, forward and both gradients; images NHWC."""

import numpy as np
import pytest
import theano

from bench.micro.conftest import BATCH
from fastvae.backends import abstract
from fastvae.backends.cpu.ops.convolution import Convolution

LAYERS = {  # rows and columns of the image, channels in, out, kernel
    "3x3 from the image": (28, 1, 64, 3),
    "1x1": (26, 64, 64, 1),
    "3x3": (26, 64, 64, 3),
}


def sizes(layer):
    """Shapes of image, weights and output of a layer, and its GFLOP."""
    size, c, o, k = LAYERS[layer]
    top = size - k + 1
    return (BATCH, size, size, c), (o, c, k, k), (BATCH, top, top, o), 2e-9 * BATCH * top * top * o * c * k * k


def kernels(layer):
    """Whether Winograd is asked for: the 3x3 layers have both."""
    return (True, False) if layer == "3x3" else (False,)


CASES = [pytest.param(layer, w, id=f"{layer}{' winograd' * w}") for layer in LAYERS for w in kernels(layer)]


@pytest.mark.parametrize("layer, winograd", CASES)
def test_forward(layer, winograd, op_timed, drawn):
    x, w, _, work = sizes(layer)
    op_timed(Convolution(abstract.Conv("relu"), winograd), drawn(*x), drawn(*w, scale=0.05), drawn(w[0]), work=work)


@pytest.mark.parametrize("layer, winograd", CASES)
def test_images_gradient(layer, winograd, op_timed, drawn):
    x, w, top, work = sizes(layer)
    like = theano.shared(np.empty(x, "float32"))
    op_timed(Convolution(abstract.ConvTransposed(), winograd), drawn(*top), drawn(*w, scale=0.05), like, work=work)


@pytest.mark.parametrize("layer, winograd", CASES)
def test_weights_gradient(layer, winograd, op_timed, drawn):
    x, w, top, work = sizes(layer)
    op = Convolution(abstract.ConvWeightsGradient("top"), winograd)
    op_timed(op, drawn(*x), drawn(*top), theano.shared(np.empty(w, "float32")), work=work)


@pytest.mark.parametrize("winograd", [True, False], ids=["winograd", "direct"])
def test_transposed_layer(winograd, op_timed, drawn):
    x, w, top, work = sizes("3x3")
    op = Convolution(abstract.ConvTransposed("relu"), winograd)
    op_timed(op, drawn(*top), drawn(*w, scale=0.05), drawn(w[1]), np.array(x[1:3]), work=work)
