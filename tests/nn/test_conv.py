import numpy as np
import pytest
import scipy.signal
import theano
import theano.tensor as tt

from fastvae import nn
from fastvae.errors import ConfigurationError
from tests.on_devices import on_every_device

SHAPE = (2, 9, 8)  # channels, rows, columns
CASES = [
    dict(kernel=3),
    dict(kernel=1),
    dict(kernel=3, padding="same"),
    dict(kernel=(2, 3), stride=(2, 1), padding=(1, 2)),
    dict(kernel=3, stride=2, padding=1),
]


def correlate(images, weight, stride, padding):
    """The definition, one pair of channels at a time."""
    images = np.pad(images.astype(float), ((0, 0), (0, 0), *((p, p) for p in padding)))
    maps = [
        [sum(scipy.signal.correlate(c, k, "valid") for c, k in zip(image, kernels)) for kernels in weight.astype(float)]
        for image in images
    ]
    return np.array(maps)[:, :, :: stride[0], :: stride[1]]


@on_every_device
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_is_the_cross_correlation(case, assert_close):
    rng = np.random.default_rng(2)
    layer = nn.Conv2D(2, 3, **case, bias=nn.normal(1), rng=rng)
    images = rng.standard_normal((4, *SHAPE), dtype=np.float32)
    weight, bias = (p.get_value() for p in layer.get_params())
    assert weight.shape == (3, 2, *layer.kernel) and bias.shape == (3,)
    expected = correlate(images, weight, layer.stride, layer.padding) + bias[:, None, None]
    assert layer.output_shape(SHAPE) == expected.shape[1:]
    x = tt.tensor4("x", dtype="float32")
    assert_close(theano.function([x], layer(x))(images), expected)


@on_every_device
def test_gradients_match_scipy(assert_close):
    rng = np.random.default_rng(3)
    layer = nn.Conv2D(2, 3, 3, activation=nn.relu, rng=rng)
    images = rng.standard_normal((4, *SHAPE), dtype=np.float32)
    x = tt.tensor4("x", dtype="float32")
    step = theano.function([x], theano.grad(layer(x).sum(), [x, *layer.get_params()]))
    weight = layer.weight.get_value()
    passed = (correlate(images, weight, (1, 1), (0, 0)) > 0).astype(float)
    wrt_images = [
        [sum(scipy.signal.convolve(p, k) for p, k in zip(maps, weight[:, c].astype(float))) for c in range(2)]
        for maps in passed
    ]
    doubles = images.astype(float)
    wrt_weight = [
        [sum(scipy.signal.correlate(i[c], p[f], "valid") for i, p in zip(doubles, passed)) for c in range(2)]
        for f in range(3)
    ]
    for actual, expected in zip(step(images), [wrt_images, wrt_weight, passed.sum((0, 2, 3))]):
        assert_close(actual, np.array(expected))


def test_fans_count_the_kernel():
    seen = []

    def spy(shape, fan_in, fan_out, rng):
        seen.append((shape, fan_in, fan_out))
        return np.zeros(shape, np.float32)

    nn.Conv2D(2, 5, (3, 4), weight=spy)
    assert seen == [((5, 2, 3, 4), 24, 60)]


def test_images_smaller_than_the_kernel_are_refused():
    with pytest.raises(ConfigurationError, match=r"input shape \(2, 2, 8\) with padding \(0, 0\) is smaller"):
        nn.Conv2D(2, 3, 3).output_shape((2, 2, 8))


@pytest.mark.parametrize(
    "arguments", [dict(n_in=0), dict(n_out=-1), dict(kernel=0), dict(stride=0), dict(padding="full"), dict(padding=3)]
)
def test_arguments_are_checked(arguments):
    (name,) = arguments
    with pytest.raises(ConfigurationError, match=f"Conv2D( 'conv')?: {name}="):
        nn.Conv2D(**{"n_in": 1, "n_out": 2, "kernel": 3, **arguments})
