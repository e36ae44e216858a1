"""The abstract convolution Ops' shapes, and that the transposed one is stock's gradient with respect to the image."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.tensor.nnet.abstract_conv import conv2d_grad_wrt_inputs

from fastvae.backends import abstract

PYTHON = theano.Mode(linker="py", optimizer=None)


def test_transposed_convolution_is_the_gradient_of_the_convolution(rng, close):
    g, w = rng.randn(2, 4, 3, 5), rng.randn(4, 3, 3, 2)
    stock = conv2d_grad_wrt_inputs(
        tt.constant(g), tt.constant(w), (None, None, 7, 14), subsample=(2, 3), filter_flip=False
    )
    ours = abstract.conv_transpose2d(g, w, stride=(2, 3))
    value, expected = theano.function([], [ours, stock], mode=PYTHON)()
    assert value.shape == (2, 3, 7, 14)
    close(value, expected)


def test_infer_shape_does_not_compute(rng):
    x, w = tt.tensor4("x", "float32"), tt.tensor4("w", "float32")
    shapes = [
        abstract.conv2d(x, w, stride=2, padding=1).shape,
        abstract.conv_transpose2d(x, w, stride=2, groups=2).shape,
        theano.grad(tt.sum(abstract.conv2d(x, w) ** 2), w).shape,
    ]
    compiled = theano.function([x, w], shapes, on_unused_input="ignore")
    assert not [n for n in compiled.maker.fgraph.apply_nodes if "onv" in str(n.op)]
    a, b = np.zeros((2, 4, 5, 7), "float32"), np.zeros((4, 4, 3, 2), "float32")
    assert [tuple(s) for s in compiled(a, b)] == [(2, 4, 3, 4), (2, 8, 11, 14), (4, 4, 3, 2)]


def test_sizes_that_do_not_belong_together(rng):
    top, weights, like = (tt.constant(np.zeros(s, "float32")) for s in ((1, 1, 3, 3), (1, 1, 2, 2), (1, 1, 9, 9)))
    with pytest.raises(ValueError, match="does not give an output"):
        theano.function([], abstract.ConvTransposed()(top, weights, like), mode=PYTHON)()
