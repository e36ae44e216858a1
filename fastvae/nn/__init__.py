"""Layers, activations and initialisers for Theano networks, and the collection of their parameters.

A layer is a small object. Its constructor makes the parameters (float32 `theano.shared`), `layer(x)` returns a Theano
expression, `layer.get_params()` its parameters, and `layer.output_shape(input_shape)` the static shape of one output
(without the batch axis). `layer.get_state()` is what a training changes without training it. A call returns the
training form, of which `for_evaluation` makes the evaluation form.

    layer.py            Layer: what all layers share
    linear.py           Linear
    conv.py             Conv2D
    conv_transpose.py   ConvTranspose2D
    flatten.py          Flatten, Reshape
    pool.py             MaxPool2D, AveragePool2D, GlobalAveragePool2D
    upsample.py         Upsample2D
    batch_norm.py       BatchNorm
    dropout.py          Dropout
    modes.py            for_evaluation, running_updates, running_statistics
    rectifiers.py       LeakyReLU, PReLU
    activations.py      relu, leaky_relu, elu, selu, gelu, swish, sigmoid, tanh, softplus, clip, identity, ACTIVATIONS
    initializers.py     glorot_uniform, he_normal, normal, constant, zeros, ones
    collect.py          collect_params, not_trainable

Examples
--------
>>> import fastvae, theano.tensor as tt
>>> from fastvae import nn
>>> layer = nn.Conv2D(1, 8, 3, activation=nn.relu, name="conv1", rng=0)
>>> layer.output_shape((1, 28, 28))
(8, 26, 26)
>>> fastvae.collect_params(layer(tt.tensor4("x", dtype="float32")))
[conv1.weight, conv1.bias]
"""

from fastvae.nn.activations import (
    ACTIVATIONS,
    clip,
    elu,
    gelu,
    identity,
    leaky_relu,
    relu,
    selu,
    sigmoid,
    softplus,
    swish,
    tanh,
)
from fastvae.nn.batch_norm import BatchNorm
from fastvae.nn.collect import collect_params, not_trainable
from fastvae.nn.conv import Conv2D
from fastvae.nn.conv_transpose import ConvTranspose2D
from fastvae.nn.dropout import Dropout
from fastvae.nn.flatten import Flatten, Reshape
from fastvae.nn.initializers import constant, glorot_uniform, he_normal, normal, ones, zeros
from fastvae.nn.layer import Layer
from fastvae.nn.linear import Linear
from fastvae.nn.modes import for_evaluation, running_statistics, running_updates
from fastvae.nn.pool import AveragePool2D, GlobalAveragePool2D, MaxPool2D
from fastvae.nn.rectifiers import LeakyReLU, PReLU
from fastvae.nn.upsample import Upsample2D

__all__ = [
    "Linear",
    "Conv2D",
    "ConvTranspose2D",
    "Flatten",
    "Reshape",
    "MaxPool2D",
    "AveragePool2D",
    "GlobalAveragePool2D",
    "Upsample2D",
    "BatchNorm",
    "Dropout",
    "for_evaluation",
    "running_statistics",
    "running_updates",
    "LeakyReLU",
    "PReLU",
    "Layer",
    "ACTIVATIONS",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "swish",
    "sigmoid",
    "tanh",
    "softplus",
    "clip",
    "identity",
    "glorot_uniform",
    "he_normal",
    "normal",
    "constant",
    "zeros",
    "ones",
    "collect_params",
    "not_trainable",
]
