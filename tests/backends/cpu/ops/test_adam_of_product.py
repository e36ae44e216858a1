"""Adam's step that makes its gradient itself, and Adam's alone, against numpy's in float64."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from hypothesis import given
from hypothesis import strategies as st

import fastvae
from fastvae.backends.abstract import AdamStep
from fastvae.backends.cpu.ops.adam import Adam
from fastvae.backends.cpu.ops.adam_of_product import AdamOfProduct
from fastvae.backends.cpu.ops.matmul import MatMul
from tests.backends.cpu.ops.running import DIRECT, LAYOUTS, SWEEP, by_any_threads, compiled, drawn

RATE = np.array(1e-2, "float32")


def expected(p, g, m, v, rate=1e-2, beta1=0.9, beta2=0.999, epsilon=1e-8):
    p, g, m, v = (a.astype("float64") for a in (p, g, m, v))
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return p - rate * m / (np.sqrt(v) + epsilon), m, v


@SWEEP
@given(st.data())
def test_adam_of_product(close, data):
    rows, columns = (data.draw(st.sampled_from([1, 7, 16, 33, 70, 530])) for _ in range(2))
    depth = data.draw(st.sampled_from([0, 1, 5, 64, 200]))
    tx, ty = (data.draw(st.booleans()) for _ in range(2))
    layouts = [LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))] for _ in range(3)]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, y = (
        drawn(rng, *((depth, rows) if tx else (rows, depth))),
        drawn(rng, *((columns, depth) if ty else (depth, columns))),
    )
    p, m, v = drawn(rng, rows, columns), drawn(rng, rows, columns), drawn(rng, rows, columns) ** 2 + np.float32(0.1)
    op = AdamOfProduct(AdamStep(), (tx, ty))
    results = by_any_threads(op, RATE, layouts[2](p), layouts[0](x), layouts[1](y), layouts[2](m), layouts[2](v))
    gradient = (x.T if tx else x).astype("float64") @ (y.T if ty else y)
    for result, wanted in zip(results, expected(p, gradient, m, v)):
        close(result, wanted)


@pytest.mark.parametrize("shape", [(300, 70), (70, 301)])
def test_it_steps_as_adam_on_its_gradient(rng, shape):
    p, m, v = (np.abs(rng.randn(*shape)).astype("float32") for _ in range(3))
    x, y = rng.randn(64, shape[0]).astype("float32"), rng.randn(64, shape[1]).astype("float32")
    step, g = AdamStep(), np.zeros(shape, "float32")
    for k in range(64):  # one chain of terms
        g = (x[k, :, None].astype("float64") * y[k].astype("float64") + g).astype("float32")
    apart = compiled(Adam(step, 1), RATE, p, g, m, v)
    together = compiled(AdamOfProduct(step, (True, False)), RATE, p, x, y, m, v)
    for one, other in zip(apart, together):
        np.testing.assert_allclose(one, other, rtol=3e-7, atol=1e-7)


def test_in_place_it_overwrites_parameters_and_moments(rng):
    p, m, v, x, y = (np.abs(rng.randn(40, 40)).astype("float32") for _ in range(5))
    op = AdamOfProduct(AdamStep()).in_place()
    variables = [tt.fscalar(), *(tt.fmatrix() for _ in range(5))]
    inputs = [theano.In(a, borrow=True, mutable=True) for a in variables]
    function = theano.function(inputs, op(*variables, return_list=True), mode=DIRECT, accept_inplace=True)
    wanted = compiled(AdamOfProduct(AdamStep()), RATE, p, x, y, m, v)
    function(RATE, p, x, y, m, v)
    for overwritten, value in zip((p, m, v), wanted):
        np.testing.assert_array_equal(overwritten, value)


def test_wrong_shapes_are_refused():
    p, x, y = np.zeros((3, 4), "float32"), np.zeros((3, 5), "float32"), np.zeros((6, 4), "float32")
    with pytest.raises(ValueError, match=r"shape \(3, 4\).*5 and 6 terms"):
        compiled(AdamOfProduct(AdamStep()), RATE, p, x, y, p, p)


@pytest.fixture(scope="module")
def layer():
    rng = np.random.RandomState(0)
    weights = [theano.shared(rng.randn(*shape).astype("float32")) for shape in ((300, 256), (256, 7), (7,))]
    x = theano.shared(rng.randn(20, 300).astype("float32"))
    loss = tt.sqr(tt.dot(tt.tanh(tt.dot(x, weights[0])), weights[1]) + weights[2]).sum()
    return loss, weights


def kinds(function):
    return [type(node.op) for node in function.maker.fgraph.toposort()]


def test_only_a_large_matrix_whose_gradient_nobody_reads_takes_it(layer):
    loss, weights = layer
    gradients = tt.grad(loss, weights)
    step = theano.function([], loss, updates=fastvae.adam(gradients, weights))
    assert kinds(step).count(AdamOfProduct) == 1
    assert [node.op.n_parameters for node in step.maker.fgraph.toposort() if isinstance(node.op, Adam)] == [2]
    read = theano.function([], gradients[0].max(), updates=fastvae.adam(gradients, weights))
    assert AdamOfProduct not in kinds(read) and MatMul in kinds(read)


def test_decayed_moments_count_as_zero_and_the_parameters_do_not_show_it():
    """Those of a parameter whose gradient stays 0; x86 computes with denormal numbers ten times slower."""
    p, g = np.ones(1000, "float32"), np.zeros(1000, "float32")
    m, v = np.full(1000, 1e-39, "float32"), np.full(1000, 1e-40, "float32")
    new_p, new_m, new_v = compiled(Adam(AdamStep(), 1), RATE, p, g, m, v)
    np.testing.assert_array_equal(new_p, p)
    assert not new_m.any() and not new_v.any()
    assert np.float32(1e-40) * np.float32(1) != 0  # elsewhere they are kept


def test_with_a_tiny_epsilon_denormal_moments_count(close):
    p, g = np.ones(100, "float32"), np.zeros(100, "float32")
    m, v = np.full(100, 1e-20, "float32"), np.full(100, 1e-39, "float32")
    step = AdamStep(epsilon=0.0)
    for result, wanted in zip(compiled(Adam(step, 1), RATE, p, g, m, v), expected(p, g, m, v, epsilon=0)):
        np.testing.assert_allclose(result, wanted, rtol=1e-4)
