"""What all Ops of the CPU backend do alike: errors, linkers, empty batches, NaN."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.compile.nanguardmode import NanGuardMode

from fastvae.backends import abstract
from fastvae.backends.cpu.ops.convolution import Convolution
from fastvae.backends.cpu.ops.matmul import Gemm, MatMul
from fastvae.backends.cpu.ops.relu_gradient import ReluGradient
from tests.backends.cpu.ops.running import arrays, compiled


@pytest.mark.parametrize("sum_of", [None, "top", "image"])
def test_empty_batch(sum_of):
    x, w, g = (np.zeros(s, "float32") for s in ((0, 5, 5, 3), (4, 3, 2, 2), (0, 4, 4, 4)))
    assert compiled(Convolution(abstract.Conv()), x, w)[0].shape == (0, 4, 4, 4)
    assert compiled(Convolution(abstract.ConvTransposed()), g, w)[0].shape == (0, 5, 5, 3)
    for gradient in compiled(Convolution(abstract.ConvWeightsGradient(sum_of)), x, g, w):
        assert gradient.size and not gradient.any()
    assert compiled(MatMul(), np.zeros((0, 3), "float32"), np.zeros((3, 2), "float32"))[0].shape == (0, 2)
    assert not compiled(MatMul(), np.zeros((2, 0), "float32"), np.zeros((0, 2), "float32"))[0].any()


@pytest.mark.parametrize(
    "op, values, message",
    [
        (Convolution(abstract.Conv()), arrays((1, 5, 5, 3), (4, 2, 2, 2)), "weights' channels .* differ"),
        (Convolution(abstract.Conv()), arrays((1, 2, 2, 3), (4, 3, 3, 3)), "kernel does not fit"),
        (Convolution(abstract.Conv()), arrays((1, 2, 2, 3), (4, 3, 0, 1)), "kernel is empty"),
        (Convolution(abstract.Conv(groups=2)), arrays((1, 4, 4, 4), (3, 2, 1, 1)), "not divisible by groups"),
        (Convolution(abstract.Conv()), arrays((1, 4, 4, 4), (3, 4, 1, 1), (2,)), "bias has another length"),
        (Convolution(abstract.ConvTransposed()), arrays((1, 4, 4, 4), (3, 4, 1, 1)), "filters differ"),
        (
            Convolution(abstract.ConvTransposed()),
            arrays((1, 4, 4, 3), (3, 4, 1, 1), (1, 9, 9, 4)),
            "do not belong together",
        ),
        (
            Convolution(abstract.ConvWeightsGradient()),
            arrays((1, 4, 4, 4), (2, 4, 4, 3), (3, 4, 1, 1)),
            "differ in batch size",
        ),
        (MatMul(), arrays((2, 3), (2, 3)), "inner sizes differ"),
        (MatMul(), arrays((2, 3), (3, 2), (3,)), "bias has another length"),
        (Gemm(), arrays((2, 2), (), (2, 3), (3, 3), ()), "another shape"),
        (ReluGradient(), arrays((2, 2), (2, 3)), "different shapes"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(op, values, message):
    with pytest.raises(ValueError, match=message):
        compiled(op, *values)


@pytest.mark.parametrize("op", [Convolution(abstract.Conv("relu")), MatMul("relu")])
def test_python_mode_computes_the_same(op, rng, close):
    shapes = [(2, 5, 5, 3), (4, 3, 2, 2), (4,)] if isinstance(op, Convolution) else [(3, 4), (4, 5), (5,)]
    values = [rng.randn(*s).astype("float32") for s in shapes]
    output = op(*map(tt.constant, values))
    python = theano.function([], output, mode=theano.Mode(linker="py", optimizer=None))
    close(compiled(op, *values)[0], python())


@pytest.mark.parametrize("channels, filters", [(1, 16), (16, 16), (3, 5), (16, 1)])
def test_sigmoid_saturates_and_keeps_nan(channels, filters):
    image, weights = np.zeros((2, 5, 5, channels), "float32"), np.ones((filters, channels, 3, 3), "float32")
    image[0, 0, 0, 0], image[0, 4, 4, 0], image[1, 0, 0, 0], image[1, 4, 4, 0] = np.nan, 100, -100, 2
    (y,) = compiled(Convolution(abstract.Conv("sigmoid")), image, weights)
    assert np.isnan(y[0, 0, 0]).all() and (y[0, 2, 2] == 1).all() and (abs(y[1, 0, 0]) < 1e-37).all()
    np.testing.assert_allclose(y[1, 2, 2], 1 / (1 + np.exp(-2)), rtol=1e-6)
    values = np.array([[np.nan], [np.inf], [-np.inf], [100], [-100], [0]], "float32")
    (y,) = compiled(MatMul("sigmoid"), values, np.ones((1, 1), "float32"))
    np.testing.assert_allclose(y.ravel(), [np.nan, 1, 0, 1, 0, 0.5], atol=1e-37)


@pytest.mark.parametrize("channels, filters", [(1, 16), (16, 16), (3, 5), (16, 1)])
def test_relu_keeps_nan_and_denormals(channels, filters):
    image, weights = np.ones((2, 5, 5, channels), "float32"), np.ones((filters, channels, 3, 3), "float32")
    image[0, 0, 0, 0] = np.nan
    (y,) = compiled(Convolution(abstract.Conv("relu")), image, weights)
    assert np.isnan(y[0, 0, 0]).all() and not np.isnan(y[1]).any()
    (y,) = compiled(MatMul("relu"), np.array([[1e-40], [np.nan], [-1]], "float32"), np.ones((1, 1), "float32"))
    assert y[0] == np.float32(1e-40) and np.isnan(y[1]) and y[2] == 0


@pytest.mark.parametrize("linker", ["cvm", "cvm_nogc", "vm", "vm_nogc", "c|py", "py", "nan guard"])
def test_every_linker_runs_them(linker, rng, close):
    x, w = (theano.shared(rng.randn(*shape).astype("float32")) for shape in ((2, 3, 8, 8), (4, 3, 3, 3)))
    y = abstract.conv2d(x, w, activation="relu").flatten(2)
    outputs = [y, *theano.grad(tt.sum(y**2), [x, w])]
    mode = NanGuardMode() if linker == "nan guard" else theano.Mode(linker=linker, optimizer="fast_run")
    function = theano.function([], outputs, mode=mode)
    function()
    for value, expected in zip(function(), theano.function([], outputs)()):
        close(value, expected)


def test_exceptions_come_through_and_the_function_goes_on(rng):
    x = tt.ftensor4("x")
    function = theano.function([x], abstract.conv2d(x, np.ones((1, 3, 2, 2), "float32")))
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"channels .* differ from the image's: image \(N, C, H, W\) = \(1, 2, 4, 4\)"
        ):
            function(np.ones((1, 2, 4, 4), "float32"))
        assert (function(np.ones((1, 3, 4, 4), "float32")) == 12).all()
