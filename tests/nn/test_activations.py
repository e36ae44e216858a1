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
    ],
)
def test_the_others_match_numpy(activation, reference, assert_close):
    values = np.linspace(-20, 20, 81, dtype=np.float32)
    x = tt.vector("x", dtype="float32")
    assert_close(theano.function([x], activation(x))(values), reference(values.astype(float)))
