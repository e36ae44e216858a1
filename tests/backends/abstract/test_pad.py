"""Zeros around and between pixels, where no backend takes them, and as users spell them."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.abstract.pad import Pad, Unpad
from fastvae.backends.rewrites.recognise import recognise
from fastvae.elbo.merge import merge_equal_nodes
from fastvae.elbo.rowwise import first_mixing

PYTHON = theano.Mode(linker="py", optimizer=None)  # `perform`
STOCK = theano.Mode(linker="py", optimizer="fast_run").excluding("fastvae_onednn")
GEOMETRY = (1, 0), (0, 2), (2, 1)


@pytest.mark.parametrize("mode", [PYTHON, STOCK], ids=["perform", "stock"])
def test_values(mode):
    x = np.arange(48, dtype="float32").reshape(1, 2, 4, 6)
    variable = tt.tensor4(dtype="float32")
    padded = Pad(*GEOMETRY)(variable)
    larger, smaller = theano.function([variable], [padded, Unpad(*GEOMETRY)(padded + 1)], mode=mode)(x)
    expected = np.zeros((1, 2, 8, 8), "float32")
    expected[:, :, 1::2, :6] = x
    np.testing.assert_array_equal(larger, expected)
    np.testing.assert_array_equal(smaller, x + 1)


@pytest.mark.parametrize("op", [Pad(*GEOMETRY), Unpad(*GEOMETRY)], ids=str)
def test_gradient_equals_finite_differences(op):
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 3)).astype("float64")
    theano.tensor.verify_grad(op, [x], rng=np.random.RandomState(0), mode=PYTHON)


def test_shapes_are_known_without_the_images_and_rows_stay_apart():
    x = tt.tensor4(dtype="float32")
    y = Unpad(*GEOMETRY)(Pad(*GEOMETRY)(x))
    shape = theano.function([x], y.shape, mode=STOCK)
    assert shape(np.zeros((5, 1, 2, 4), "float32")).tolist() == [5, 1, 2, 4]
    assert not any(isinstance(node.op, (Pad, Unpad)) for node in shape.maker.fgraph.apply_nodes)
    assert first_mixing([y], [x]) is None


def test_what_is_not_padded_is_an_error():
    with pytest.raises(ValueError, match="Unpad: images of 3 x 4 are none between zeros"):
        theano.function([], Unpad(*GEOMETRY)(np.zeros((1, 1, 3, 4), "float32")), mode=PYTHON)()


def dilated(x, a, b):
    """As Lasagne's upscaling layer has it."""
    shape = list(x.shape)
    shape[2], shape[3] = shape[2] * a, shape[3] * b
    return tt.set_subtensor(tt.zeros(shape, x.dtype)[:, :, ::a, ::b], x)


def padded(x, *widths, value=0):
    """As Lasagne's padding layer has it."""
    shape, index = list(x.shape), [slice(None)] * 4
    for axis, (low, high) in enumerate(widths, 2):
        index[axis] = slice(low, low + shape[axis])
        shape[axis] = shape[axis] + low + high
    around = tt.zeros(shape, x.dtype)
    return tt.set_subtensor((around + value if value else around)[tuple(index)], x)


def bordered(x):
    """By hand."""
    n, c, h, w = x.shape
    return tt.inc_subtensor(tt.zeros((n, c, h + 2, w + 3), x.dtype)[:, :, 1:-1, 1:-2], x)


SPELLINGS = {
    "dilated": (lambda x: dilated(x, 2, 3), True),
    "dilated along one axis": (lambda x: dilated(x, 1, 2), True),
    "padded": (lambda x: padded(x, (1, 2), (0, 3)), True),
    "with a border": (bordered, True),
    "every second of another size": (lambda x: tt.set_subtensor(tt.zeros_like(x)[:, :, ::2, :], x[:, :, ::2]), False),
    "not zeros": (lambda x: padded(x, (1, 2), (0, 3), value=1.0), False),
    "of the rows": (lambda x: tt.set_subtensor(tt.zeros((x.shape[0] + 1, *list(x.shape)[1:]))[1:], x), False),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_what_users_write_for_it(name):
    spelled, is_found = SPELLINGS[name]
    x = tt.tensor4("x", dtype="float32")
    y = spelled(x)
    (new,), _ = recognise(merge_equal_nodes([y]))
    assert isinstance(new.owner.op, Pad) == is_found
    if is_found:
        images = np.random.default_rng(0).normal(size=(2, 1, 3, 4)).astype("float32")
        # Theano's own simplification of this gradient may never end: the spelling is computed without.
        expected, of_expected = theano.function([x], [y, tt.grad(tt.sum(y**3), x)], mode=PYTHON)(images)
        value, of_value = theano.function([x], [new, tt.grad(tt.sum(new**3), x)], mode=STOCK)(images)
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_allclose(of_value, of_expected, rtol=1e-6)
