"""Bilinear upsampling where no backend takes it: against stock Theano, scipy, finite differences, and row by row."""

import numpy as np
import pytest
import scipy.ndimage
import theano
import theano.tensor as tt
from theano.tensor.nnet.abstract_conv import bilinear_upsampling

from fastvae.backends.abstract.bilinear import BilinearUpsample, BilinearUpsampleGradient
from fastvae.backends.rewrites.recognise import recognise
from fastvae.elbo.merge import merge_equal_nodes
from fastvae.elbo.rowwise import first_mixing

PYTHON = theano.Mode(linker="py", optimizer=None)  # `perform`
STOCK = theano.Mode(linker="cvm", optimizer="fast_run").excluding("fastvae_onednn")


def centred(images, rows, columns):
    """By scipy, at the places of pixels that cover the same area, whose edge repeats."""
    h, w = images.shape[2:]
    y, x = ((np.arange(r * size) + 0.5) / r - 0.5 for r, size in ((rows, h), (columns, w)))
    places = np.meshgrid(y, x, indexing="ij")
    flat = [scipy.ndimage.map_coordinates(image, places, order=1, mode="nearest") for image in images.reshape(-1, h, w)]
    return np.reshape(flat, (*images.shape[:2], rows * h, columns * w))


@pytest.mark.parametrize("mode", [PYTHON, STOCK], ids=["perform", "stock"])
def test_values_by_both_conventions(mode):
    x = tt.tensor4(dtype="float32")
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 1)).astype("float32")
    ours = [*(BilinearUpsample((r, r), centred=False)(x) for r in (2, 3, 4)), BilinearUpsample((3, 2))(x)]
    theanos = theano.function([x], [bilinear_upsampling(x, r) for r in (2, 3, 4)], mode=PYTHON)(images)
    expected = [*theanos, centred(images.astype(float), 3, 2)]
    for value, reference in zip(theano.function([x], ours, mode=mode)(images), expected):
        assert value.dtype == "float32"
        np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [BilinearUpsample, BilinearUpsampleGradient])
@pytest.mark.parametrize("is_centred", [True, False])
def test_gradient_equals_finite_differences(kind, is_centred):
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 3))
    theano.tensor.verify_grad(kind((2, 3), is_centred), [x], rng=np.random.RandomState(0), mode=PYTHON)


def test_shapes_are_known_without_the_images_and_rows_stay_apart():
    x = tt.tensor4(dtype="float32")
    y = BilinearUpsampleGradient((3, 2))(BilinearUpsample((3, 2))(x))
    shape = theano.function([x], y.shape, mode=STOCK)
    assert shape(np.zeros((5, 1, 2, 4), "float32")).tolist() == [5, 1, 2, 4]
    assert not any(isinstance(node.op, BilinearUpsample) for node in shape.maker.fgraph.apply_nodes)
    assert first_mixing([y], [x]) is None


SPELLINGS = {
    "by 2": dict(ratio=2),
    "by 3, one kernel": dict(ratio=3, use_1D_kernel=False),
    "of known images": dict(ratio=2, batch_size=2, num_input_channels=3),
    "one ratio for each axis": dict(frac_ratio=((2, 1), (3, 1)), use_1D_kernel=False),
    "by a fraction": dict(frac_ratio=(3, 2), use_1D_kernel=False),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_theanos_function_is_recognised(name):
    arguments = SPELLINGS[name]
    x = tt.tensor4("x", dtype="float32")
    y = bilinear_upsampling(x, **arguments)
    (new,), _ = recognise(merge_equal_nodes([y]))
    assert isinstance(new.owner.op, BilinearUpsample) == (name != "by a fraction")
    if name != "by a fraction":
        images = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype("float32")
        outputs = [v for z in (y, new) for v in (z, tt.grad(tt.sum(z**3), x))]
        expected, of_expected, value, of_value = theano.function([x], outputs, mode=PYTHON)(images)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(of_value, of_expected, rtol=1e-4, atol=1e-5)
