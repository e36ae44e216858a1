"""Activations and their slopes against formulas in float64 and finite differences, in all code that computes them."""

import pickle

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.abstract.activations import (
    KINDS,
    ActivationGradient,
    Clip,
    Elu,
    Gelu,
    GeluTanh,
    LeakyRelu,
    ParametricRelu,
    SignedRelu,
    _composite,
    settings,
)
from fastvae.backends.cpu.vectorize import VectorElemwise
from tests.backends.activation_formulas import FORMULAS

OPS = list(FORMULAS)
PYTHON = theano.Mode("py", None)
POINTS = np.array([-9, -3, -1.5, -0.3, 0.2, 0.9, 1.7, 2.5, 8])
SPECIAL = np.array([0, -0.0, np.nan, np.inf, -1e30, 1e30, -1e-45, 1e-45, -200, 89, -1, 2], "float32")


def ids(op):
    return type(op).__name__


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_value_and_two_derivatives_in_float64(op):
    x = tt.dvector("x")
    y = tt.Elemwise(op)(x)
    slope = theano.grad(y.sum(), x)
    function = theano.function([x], [y, slope, theano.grad(slope.sum(), x)], mode=PYTHON)
    value, first, second = function(POINTS)
    np.testing.assert_allclose(value, FORMULAS[op](POINTS), rtol=1e-12, atol=1e-14)
    step = 1e-5
    for derivative, of in ((first, FORMULAS[op]), (second, lambda at: function(at)[1])):
        difference = (of(POINTS + step) - of(POINTS - step)) / (2 * step)
        np.testing.assert_allclose(derivative, difference, rtol=1e-7, atol=1e-8)


def test_slopes_where_they_jump():
    x = np.array([0, -0.0, np.nan], "float32")
    for op, expected in (
        (LeakyRelu(0.25), [0.25, 0.25, np.nan]),
        (LeakyRelu(0.25, 1.0, 0.25), [1, 1, 0.25]),
        (SignedRelu(0.5), [0.5, 0.5, np.nan]),
        (SignedRelu(1.0, 0.0), [1, 1, 0]),
        (Elu(0.5, 2.0), [1, 1, np.nan]),
    ):
        source = [op.impl(value) for value in x] if op.from_output else x
        slopes = [ActivationGradient(op).impl(value, np.float32(1)) for value in source]
        np.testing.assert_array_equal(slopes, expected, err_msg=str(op))
    bounds = [ActivationGradient(Clip(-1, 2)).impl(value, np.float32(3)) for value in np.float32([-1, 2, -2, 3])]
    assert bounds == [3, 3, 0, 0]


def test_the_sign_of_zero_tells_what_a_signed_relu_saw():
    y = [SignedRelu().impl(value) for value in np.float32([-2, -1e-45, -0.0, 0, 1])]
    assert np.signbit(y).tolist() == [True, True, False, False, False] and y[-1] == 1


def passes(x, g, number):
    """Every activation and every gradient in one pass each, of which a number chooses one."""
    value, gradient = x, g
    for i, op in enumerate(OPS):
        value = tt.switch(tt.eq(number, i), tt.Elemwise(op)(x), value)
        gradient = tt.switch(tt.eq(number, i), tt.Elemwise(ActivationGradient(op))(x, g), gradient)
    return [value, gradient]


@pytest.fixture(scope="module", params=["vector", "portable"])
def compiled(request):
    """The passes on float32: vector code, and what other backends compile."""
    x, g, number = tt.fvector("x"), tt.fvector("g"), tt.iscalar("number")
    mode = theano.compile.mode.get_default_mode()
    if request.param == "portable":
        mode = mode.excluding("fastvae_onednn")
    functions = [theano.function([x, g, number], y, mode=mode, on_unused_input="ignore") for y in passes(x, g, number)]
    for function in functions:
        vector = [node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, VectorElemwise)]
        assert len(vector) == (request.param == "vector")

    def run(op, x, g):
        """The value, and the gradient from what it comes from."""
        value = functions[0](x, g, OPS.index(op))
        return value, functions[1](value if op.from_output else x, g, OPS.index(op))

    return request.param, run


def slope(op, source):
    """The slope in float64, from what it comes from."""
    return np.array([ActivationGradient(op).impl(value, np.float64(1)) for value in source.astype("float64")])


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_compiled_code_against_float64(compiled, op):
    code, run = compiled
    rng = np.random.default_rng(3)
    x = np.concatenate([scale * rng.standard_normal(10_000).astype("float32") for scale in (0.01, 1, 5)])
    g = rng.standard_normal(len(x)).astype("float32")
    value, gradient = run(op, x, g)
    exact = FORMULAS[op](x.astype("float64"))
    is_remainder = code == "portable" and isinstance(op, (Gelu, GeluTanh))  # of 1 + erf(x), where that is nearly 0
    assert (np.abs(value - exact) <= 3e-6 * np.abs(exact) + (1e-6 if is_remainder else 1e-10)).all()
    few = slice(0, None, 29)
    expected = g[few] * slope(op, (value if op.from_output else x)[few])
    np.testing.assert_allclose(gradient[few], expected, rtol=2e-6, atol=1e-6 if code == "vector" else 1e-5)


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_compiled_code_where_it_is_special(compiled, op):
    code, run = compiled
    value, gradient = run(op, SPECIAL, np.ones_like(SPECIAL))
    with np.errstate(all="ignore"):
        exact = FORMULAS[op](SPECIAL.astype("float64")).astype("float32")
    np.testing.assert_allclose(value, exact, rtol=1e-6, atol=1e-38)
    source = value if op.from_output else SPECIAL
    few = ~(np.abs(SPECIAL) >= 1e5)  # NaN too
    np.testing.assert_allclose(gradient[few], slope(op, source[few]), rtol=1e-5, atol=1e-6)
    if code == "vector":  # in the formula 0 meets infinity
        limit = 0 if isinstance(op, Clip) else 2 if isinstance(op, Elu) else 1
        assert gradient[SPECIAL == 1e30] == limit and np.isfinite(gradient[SPECIAL == -1e30])


def test_parametric_relu_against_finite_differences():
    x, alpha = np.random.RandomState(0).randn(3, 4), np.array([[0.1, 0.5, -0.2, 2]])
    theano.gradient.verify_grad(tt.Elemwise(ParametricRelu()), [x, alpha], rng=np.random.RandomState(1), mode=PYTHON)


def test_parametric_relu_at_zero():
    x, alpha = tt.fmatrix("x"), tt.constant(np.float32([[0.25, 0.5]]), name="alpha")
    zero = np.zeros((1, 2), "float32")
    for op, expected in ((ParametricRelu(), [[0.25, 0.5]]), (ParametricRelu(True), [[0.625, 0.75]])):
        y = tt.Elemwise(op)(x, alpha)
        assert theano.function([x], theano.grad(y.sum(), x), mode=PYTHON)(zero).tolist() == expected


def test_ops_are_equal_by_their_parameters_and_survive_pickle():
    assert Elu() == Elu(1.0) != Elu(2.0) and hash(Elu()) == hash(Elu(1.0)) and Gelu() == Gelu() != GeluTanh()
    assert LeakyRelu(0.1) != LeakyRelu(0.1, 0.5) and SignedRelu() == SignedRelu(0.5)
    for op in (*OPS, ParametricRelu(True), ActivationGradient(Elu())):
        assert pickle.loads(pickle.dumps(op)) == op and "object at" not in repr(op)


def test_settings_number_all_kinds():
    numbers = [settings(op) for op in ("relu", "sigmoid", tt.tanh.scalar_op, tt.nnet.softplus.scalar_op, *OPS)]
    assert [number for number, *_ in numbers] == list(range(1, 1 + len(KINDS)))
    assert all(len(each) == 4 for each in numbers) and np.isnan(settings(LeakyRelu(0.1))[3])


def test_test_values_as_pymc3_wants_them():
    with theano.configparser.change_flags(compute_test_value="raise"):
        x = tt.fvector("x")
        x.tag.test_value = np.float32([-1, 2])
        for op in OPS:
            _composite.cache_clear()
            y = tt.Elemwise(op)(x)
            slope = theano.grad(y.sum(), x)
            np.testing.assert_allclose(y.tag.test_value, FORMULAS[op](x.tag.test_value), rtol=1e-5)
            assert np.isfinite(theano.grad(slope.sum(), x).tag.test_value).all()
