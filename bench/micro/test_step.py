"""Parts of a training step as users meet them: the gather, the optimiser, the forward pass, the whole step."""

import pytest
import theano
import theano.tensor as tt

import fastvae
from bench.micro.conftest import BATCH
from fastvae.backends.cpu.ops.adam import Adam
from fastvae.backends.cpu.ops.convolution import Convolution
from fastvae.backends.cpu.ops.matmul import MatMul
from fastvae.backends.cpu.ops.rows import TakeRows

MODELS = {"conv": fastvae.ConvVAE, "mlp": fastvae.MLPVAE}


@pytest.fixture(scope="module")
def images():
    return fastvae.datasets.load("fashion-mnist-sample")


@pytest.mark.parametrize("sampler", ["replacement", "epochs"])
def test_gather(sampler, timed, images):
    timed([fastvae.Minibatch(images, BATCH, sampler=sampler)], TakeRows)


def test_gather_of_bytes(timed, images):
    timed([fastvae.Minibatch((255 * images).astype("uint8"), BATCH, scale=1 / 255)], TakeRows)


def test_optimizer(timed, drawn):
    params = fastvae.ConvVAE(seed=1).get_params()
    gradients = [drawn(*param.get_value(borrow=True).shape) for param in params]
    timed([], Adam, updates=fastvae.adam(gradients, params, learning_rate=1e-4))


@pytest.mark.parametrize("model", MODELS)
def test_forward_pass(model, timed, images):
    vae = MODELS[model](seed=1)
    mean, _ = vae.encode(theano.shared(images[:BATCH]))
    timed([vae.decode(mean)], Convolution if model == "conv" else MatMul)


@pytest.mark.parametrize("model", MODELS)
def test_gradient(model, timed, images):
    vae = MODELS[model](seed=1)
    xs = theano.shared(images[:BATCH])
    mean, _ = vae.encode(xs)
    loss = tt.sum((vae.decode(mean) - xs) ** 2)
    params = [param for param in vae.get_params()]
    timed(theano.grad(loss, params, disconnected_inputs="ignore"), MatMul)
