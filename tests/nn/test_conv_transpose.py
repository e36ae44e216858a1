import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae import nn
from fastvae.errors import ConfigurationError
from tests.on_devices import on_every_device

SHAPE = (2, 4, 5)  # channels, rows, columns
CASES = [
    dict(kernel=3),
    dict(kernel=1),
    dict(kernel=3, padding="same"),
    dict(kernel=(2, 3), stride=(2, 1), padding=(1, 2)),
    dict(kernel=3, stride=2, padding=1),
]


def scatter(maps, weight, stride, padding):
    """The definition: each input element adds its multiple of the kernel to the output."""
    (n, _, rows, columns), (_, n_out, height, width) = maps.shape, weight.shape
    out = np.zeros((n, n_out, (rows - 1) * stride[0] + height, (columns - 1) * stride[1] + width))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride[0], j * stride[1]
            out[:, :, top : top + height, left : left + width] += np.einsum("bi,iohw->bohw", maps[:, :, i, j], weight)
    return out[:, :, padding[0] : out.shape[2] - padding[0], padding[1] : out.shape[3] - padding[1]]


@on_every_device
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_matches_the_definition(case, assert_close):
    rng = np.random.default_rng(4)
    layer = nn.ConvTranspose2D(2, 3, **case, bias=nn.normal(1), rng=rng)
    maps = rng.standard_normal((4, *SHAPE), dtype=np.float32)
    weight, bias = (p.get_value().astype(float) for p in layer.get_params())
    assert weight.shape == (2, 3, *layer.kernel) and bias.shape == (3,)
    expected = scatter(maps, weight, layer.stride, layer.padding) + bias[:, None, None]
    assert layer.output_shape(SHAPE) == expected.shape[1:]
    x = tt.tensor4("x", dtype="float32")
    assert_close(theano.function([x], layer(x))(maps), expected)


@on_every_device
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_the_adjoint_of_the_convolution(case):
    rng = np.random.default_rng(5)
    transpose = nn.ConvTranspose2D(2, 3, **case, rng=rng)
    conv = nn.Conv2D(3, 2, **case, weight=lambda *_: transpose.weight.get_value())
    big, small = (tt.tensor4(name, dtype="float32") for name in ("big", "small"))
    apply = theano.function([big, small], [conv(big), transpose(small)])
    images = rng.standard_normal((2, *transpose.output_shape(SHAPE)), dtype=np.float32)
    maps = rng.standard_normal((2, *conv.output_shape(images.shape[1:])), dtype=np.float32)
    assert maps.shape[1:] == SHAPE
    convolved, transposed = apply(images, maps)
    left, right = np.vdot(convolved.astype(float), maps), np.vdot(images.astype(float), transposed)
    assert abs(left - right) <= 1e-5 * np.linalg.norm(convolved) * np.linalg.norm(maps)


@on_every_device
def test_gradients_match_the_definition(assert_close):
    rng = np.random.default_rng(6)
    layer = nn.ConvTranspose2D(2, 3, 3, stride=2, rng=rng)
    maps = rng.standard_normal((4, *SHAPE), dtype=np.float32)
    factor = rng.standard_normal((4, *layer.output_shape(SHAPE)), dtype=np.float32)
    x = tt.tensor4("x", dtype="float32")
    step = theano.function([x], theano.grad((layer(x) * factor).sum(), [x, *layer.get_params()]))
    weight = layer.weight.get_value().astype(float)
    windows = np.lib.stride_tricks.sliding_window_view(factor.astype(float), (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    expected = [
        np.einsum("boijhw,nohw->bnij", windows, weight),
        np.einsum("boijhw,bnij->nohw", windows, maps),
        factor.sum((0, 2, 3), dtype=float),
    ]
    for actual, reference in zip(step(maps), expected):
        assert_close(actual, reference)


def test_an_empty_output_is_refused():
    with pytest.raises(ConfigurationError, match=r"input shape \(1, 1, 5\) would give rows and columns \(-1, 3\)"):
        nn.ConvTranspose2D(1, 1, 3, padding=2).output_shape((1, 1, 5))


@pytest.mark.parametrize(
    "arguments", [dict(n_in=0), dict(n_out=-1), dict(kernel=0), dict(stride=0), dict(padding="full"), dict(padding=3)]
)
def test_arguments_are_checked(arguments):
    (name,) = arguments
    with pytest.raises(ConfigurationError, match=f"ConvTranspose2D( 'conv_transpose')?: {name}="):
        nn.ConvTranspose2D(**{"n_in": 1, "n_out": 2, "kernel": 3, **arguments})
