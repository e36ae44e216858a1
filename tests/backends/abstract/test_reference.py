"""The numpy definitions, held to stock Theano's own Python convolutions in float64."""

import itertools

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.tensor.nnet.abstract_conv import AbstractConv2d, AbstractConv2d_gradInputs, AbstractConv2d_gradWeights

from fastvae.backends.abstract import reference

STOCK = theano.Mode(linker="py", optimizer=None)
CASES = [
    dict(stride=stride, padding=padding, dilation=dilation, groups=groups, flip=flip)
    for (stride, dilation), padding, (groups, flip) in itertools.product(
        [((1, 1), (1, 1)), ((2, 1), (1, 2)), ((3, 2), (2, 1))],
        [((0, 0), (0, 0)), ((1, 1), (2, 2)), ((1, 0), (0, 2)), "half", "full"],
        [(1, False), (2, True)],
    )
]


@pytest.mark.parametrize("geometry", CASES, ids=str)
def test_agrees_with_stock(geometry, rng):
    image, weights = rng.randn(2, 4, 9, 8), rng.randn(6, 4 // geometry["groups"], 3, 2)
    top = rng.randn(
        2, 6, *reference.out_size((9, 8), (3, 2), geometry["padding"], geometry["stride"], geometry["dilation"])
    )
    stock = dict(border_mode=geometry["padding"], subsample=geometry["stride"], filter_dilation=geometry["dilation"],
                 num_groups=geometry["groups"], filter_flip=geometry["flip"])  # fmt: skip
    size, kernel = np.array([9, 8]), np.array([3, 2])
    expected = theano.function(
        [],
        [
            AbstractConv2d(**stock)(tt.constant(image), tt.constant(weights)),
            AbstractConv2d_gradInputs(**stock)(tt.constant(weights), tt.constant(top), tt.constant(size)),
            AbstractConv2d_gradWeights(**stock)(tt.constant(image), tt.constant(top), tt.constant(kernel)),
        ],
        mode=STOCK,
    )()
    got = [
        reference.forward(image, weights, **geometry),
        reference.image_gradient(top, weights, (9, 8), **geometry),
        reference.weights_gradient(image, top, (3, 2), **geometry),
    ]
    for value, oracle in zip(got, expected):
        np.testing.assert_allclose(value, oracle, rtol=1e-12, atol=1e-12)
