import pickle

import numpy as np
import pytest
import scipy.special
import theano
import theano.tensor as tt

from fastvae import nn
from fastvae.errors import ConfigurationError

VALUES = [-np.inf, -2, -1e-38, -0.0, 0.0, 1e-38, 0.5, 3, np.inf]
MODES = [None, theano.Mode(linker="py", optimizer=None)]  # compiled C, and the Op's own Python


@pytest.fixture(scope="module", params=MODES, ids=["c", "python"])
def relus(request):
    """Value and gradient (cotangent 3) of our relu and of the oracle, by dtype."""
    functions = {}
    for dtype in ("float32", "float64"):
        x = tt.vector("x", dtype=dtype)
        pair = []
        for y in (nn.relu(x), tt.switch(x > 0, x, np.zeros((), dtype))):
            cotangent = np.asarray(3, dtype)
            pair.append(theano.function([x], [y, theano.grad((cotangent * y).sum(), x)], mode=request.param))
        functions[dtype] = pair
    return functions


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relu_and_its_gradient_match_the_oracle(relus, dtype):
    ours, oracle = relus[dtype]
    values = np.array(VALUES, dtype)
    for actual, expected in zip(ours(values), oracle(values)):
        assert actual.dtype == dtype and np.array_equal(actual, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_at_exactly_zero_is_zero(relus, dtype):
    assert relus[dtype][0](np.array([0.0, -0.0], dtype))[1].tolist() == [0, 0]


def test_relu_lets_nan_through(relus):
    y, gradient = relus["float32"][0](np.array([np.nan, 1], "float32"))
    assert np.isnan(y[0]) and y[1] == 1 and gradient.tolist() == [0, 3]


def test_stock_relu_differs_at_zero_as_the_docstring_says():
    x = tt.scalar("x", dtype="float32")
    assert theano.grad(tt.nnet.relu(x), x).eval({x: np.float32(0)}) == 0.5


def test_relu_used_twice_sums_its_gradients():
    x = tt.vector("x", dtype="float32")
    y = nn.relu(x)
    gradient = theano.function([x], theano.grad((y * y + 2 * y).sum(), x))
    assert gradient(np.array([-1, 0, 3], "float32")).tolist() == [0, 0, 8]


def test_relu_has_the_gradient_of_finite_differences():
    points = np.random.default_rng(0).standard_normal((3, 4))
    theano.gradient.verify_grad(lambda x: nn.relu(x) ** 2, [points], rng=np.random.RandomState(0))


def test_relu_has_second_derivatives():
    x = tt.scalar("x", dtype="float32")
    second = theano.grad(theano.grad(nn.relu(x) ** 3, x), x)
    assert second.eval({x: np.float32(2)}) == 12 and second.eval({x: np.float32(-2)}) == 0


def test_the_backward_pass_reuses_the_output():
    x = tt.matrix("x", dtype="float32")
    y = nn.relu(x)
    gradient = theano.grad(y.sum(), x)
    assert gradient.owner.inputs[0] is y


def test_relu_fuses_with_its_neighbours():
    x = tt.matrix("x", dtype="float32")
    step = theano.function([x], nn.relu(x * 2 + 1))
    assert len(step.maker.fgraph.apply_nodes) == 1


def test_relu_survives_pickle():
    x = tt.vector("x", dtype="float32")
    again = pickle.loads(pickle.dumps(nn.relu(x)))
    assert again.owner.op == nn.relu(x).owner.op


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float16", "complex64"])
def test_relu_refuses_other_dtypes(dtype):
    with pytest.raises(ConfigurationError, match=f"relu: the input x is {dtype}, not float32"):
        nn.relu(tt.vector("x", dtype=dtype))


@pytest.mark.parametrize(
    "activation, reference",
    [
        (nn.sigmoid, scipy.special.expit),
        (nn.tanh, np.tanh),
        (nn.softplus, lambda x: np.logaddexp(0, x)),
        (nn.identity, lambda x: x),
        (nn.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x)),
        (lambda x: nn.leaky_relu(x, 0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
        (nn.elu, lambda x: np.where(x > 0, x, np.expm1(x))),
        (lambda x: nn.elu(x, 0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
        (nn.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
        (nn.gelu, lambda x: x * scipy.special.ndtr(x)),
        (lambda x: nn.gelu(x, approximate=True), lambda x: x * scipy.special.expit(1.5957691 * (x + 0.044715 * x**3))),
        (nn.swish, lambda x: x * scipy.special.expit(x)),
        (lambda x: nn.swish(x, 2.5), lambda x: x * scipy.special.expit(2.5 * x)),
        (lambda x: nn.clip(x, -1, 6), lambda x: np.clip(x, -1, 6)),
    ],
)
def test_the_others_match_numpy(activation, reference, assert_close):
    values = np.linspace(-20, 20, 81, dtype=np.float32)
    x = tt.vector("x", dtype="float32")
    assert_close(theano.function([x], activation(x))(values), reference(values.astype(float)))


@pytest.mark.parametrize(
    "activation", [nn.leaky_relu, nn.elu, nn.selu, nn.gelu, nn.swish, lambda x: nn.clip(x, -0.5, 0.5)]
)
def test_gradients_are_those_of_finite_differences(activation):
    points = np.random.default_rng(0).standard_normal((3, 4)) * 2
    theano.gradient.verify_grad(activation, [points], rng=np.random.RandomState(0), mode=MODES[1])


def test_the_slope_at_exactly_zero_is_that_below():
    x = tt.vector("x", dtype="float32")
    for activation, expected in ((nn.leaky_relu, 0.01), (lambda v: nn.elu(v, 0.5), 0.5)):
        slope = theano.function([x], theano.grad(activation(x).sum(), x), mode=MODES[1])
        assert slope(np.zeros(1, "float32")) == np.float32(expected)


def test_elu_has_a_gradient_for_large_arguments():
    x = tt.vector("x", dtype="float32")
    slopes = [theano.grad(elu(x).sum(), x) for elu in (nn.elu, tt.nnet.elu)]
    ours, stock = theano.function([x], slopes, mode=MODES[1])(np.full(1, 1000, "float32"))
    assert ours == 1 and np.isnan(stock)


def test_names():
    assert all(function is getattr(nn, name) for name, function in nn.ACTIVATIONS.items())
    assert {"relu", "leaky_relu", "elu", "selu", "gelu", "swish", "tanh"} < nn.ACTIVATIONS.keys()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: nn.leaky_relu(x, 0), "leaky_relu: alpha=0 must be a finite number above 0"),
        (lambda x: nn.elu(x, -1.0), "elu: alpha=-1.0 must be a finite number above 0"),
        (lambda x: nn.swish(x, np.nan), "swish: beta=nan must be a finite number above 0"),
        (lambda x: nn.clip(x, 1, 1), "clip: lower=1.0 must be below upper=1.0: exchange them"),
        (lambda x: nn.gelu(x.astype("int32")), "gelu: the input .* is int32, not float32: cast it"),
    ],
)
def test_what_is_not_admissible(call, message):
    with pytest.raises(ConfigurationError, match=message):
        call(tt.vector("x", dtype="float32"))
