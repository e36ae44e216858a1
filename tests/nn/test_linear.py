import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae import nn
from fastvae.errors import ConfigurationError
from tests.on_devices import on_every_device


@on_every_device
def test_output_and_gradients_match_numpy(assert_close):
    rng = np.random.default_rng(1)
    layer = nn.Linear(4, 3, activation=nn.tanh, bias=nn.normal(1), rng=rng)
    x = tt.matrix("x", dtype="float32")
    out = layer(x)
    step = theano.function([x], [out, *theano.grad(out.sum(), [x, *layer.get_params()])])
    values = rng.standard_normal((5, 4), dtype=np.float32)
    weight, bias = (p.get_value().astype(float) for p in layer.get_params())
    expected = np.tanh(values @ weight + bias)
    slope = 1 - expected**2
    for actual, reference in zip(step(values), [expected, slope @ weight.T, values.T @ slope, slope.sum(0)]):
        assert_close(actual, reference)


def test_shapes():
    layer = nn.Linear(4, 3)
    assert layer.output_shape((4,)) == (3,)
    assert [p.get_value().shape for p in layer.get_params()] == [(4, 3), (3,)]


def test_arguments_are_checked():
    with pytest.raises(ConfigurationError, match="Linear: n_in=0 must be"):
        nn.Linear(0, 3)
    with pytest.raises(ConfigurationError, match="Linear: n_out=2.5 must be"):
        nn.Linear(3, 2.5)
