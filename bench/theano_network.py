"""A network of `bench/networks.py` in plain Theano and PyMC3, as a user writes it. Nothing here knows fastvae."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pymc3 as pm
import theano
import theano.tensor as tt
from theano.tensor.nnet.abstract_conv import bilinear_upsampling, conv2d_grad_wrt_inputs
from theano.tensor.nnet.bn import batch_normalization_train
from theano.tensor.signal.pool import pool_2d

from bench import networks
from bench.problem import Problem

ACTIVATIONS = {
    "relu": tt.nnet.relu,
    "leaky relu": lambda x: tt.nnet.relu(x, 0.2),
    "elu": tt.nnet.elu,
    "sigmoid": tt.nnet.sigmoid,
}


def apply(layers: tuple, x: Any, weights: Iterator) -> Any:
    """The layers' output for x; takes their weights from the iterator."""
    for layer in layers:
        x = _apply(layer, x, weights)
    return x


def _apply(layer, x, weights):
    if isinstance(layer, networks.Residual):
        main = apply(layer.main, x, weights)
        return main + apply(layer.shortcut, x, weights)
    if isinstance(layer, networks.Conv):
        return _convolution(layer, x, weights)
    if isinstance(layer, networks.ConvTransposed):
        weight, shape = next(weights), (None, layer.n_out, layer.size, layer.size)
        steps = dict(subsample=(layer.stride,) * 2, border_mode=(layer.padding,) * 2)
        return conv2d_grad_wrt_inputs(x, weight, shape, filter_flip=False, **steps) + _channels(next(weights))
    if isinstance(layer, networks.Dense):
        return tt.dot(x, next(weights)) + next(weights)
    if isinstance(layer, networks.BatchNorm):
        scale, shift = next(weights), next(weights)
        return batch_normalization_train(x, _channels(scale), _channels(shift), axes="spatial")[0]
    if isinstance(layer, networks.Activation):
        return ACTIVATIONS[layer.name](x)
    if isinstance(layer, networks.Pool):
        return pool_2d(x, (2, 2), ignore_border=True, mode={"max": "max", "average": "average_exc_pad"}[layer.mode])
    if isinstance(layer, networks.Upsample):
        if layer.mode == "nearest":
            return tt.repeat(tt.repeat(x, 2, axis=2), 2, axis=3)
        return bilinear_upsampling(x, ratio=2)
    if isinstance(layer, networks.Flatten):
        return x.flatten(2)
    return x.reshape((x.shape[0], *layer.shape))


def _convolution(layer, x, weights):
    x = tt.nnet.conv2d(
        x,
        next(weights),
        subsample=(layer.stride,) * 2,
        border_mode=(layer.padding,) * 2,
        filter_flip=False,
    )
    if layer.bias:
        x = x + _channels(next(weights))
    return x if layer.crop is None else x[:, :, : layer.crop, : layer.crop]


def _channels(vector):
    return vector.dimshuffle("x", 0, "x", "x")


def train(problem: Problem, fit: Callable) -> Any:
    """What `fit` does with a PyMC3 model of the problem's network, on its images."""
    network, images = networks.NETWORKS[problem.config["name"]], problem.images
    params = [theano.shared(weight) for weight in problem.weights]
    weights, batch_size, n_latent = iter(params), problem.batch_size, network.n_latent
    xs = tt.tensor4("xs", dtype="float32")
    xs.tag.test_value = images[:batch_size]
    with pm.Model():
        latent = apply(network.encoder, xs, weights)
        zs = pm.Normal("zs", mu=0, sd=1, shape=(batch_size, n_latent), dtype="float32", total_size=len(images))
        x_mean = apply(network.decoder, zs, weights)
        pm.Normal("xs_", mu=x_mean, sd=0.1, observed=xs, dtype="float32", total_size=len(images))
        return fit(
            10_000,
            local_rv={zs: dict(mu=latent[:, :n_latent], rho=latent[:, n_latent:])},
            obj_optimizer=pm.adam(learning_rate=1e-4),
            more_obj_params=params,
            more_replacements={xs: pm.Minibatch(images, batch_size)},
        )
