"""Batch normalisation on the CPU: against numpy in float64, against stock Theano, and with its neighbours."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from hypothesis import example, given
from hypothesis import strategies as st
from theano.tensor.nnet import bn
from threadpoolctl import threadpool_limits

from fastvae.backends.abstract import activations
from fastvae.backends.abstract.batch_norm import BatchNorm
from fastvae.backends.abstract.relu import relu_scalar
from fastvae.backends.cpu.ops.batch_norm import BatchNormGradient, BatchNormInference, BatchNormTrain
from fastvae.backends.rewrites.recognise import recognise
from tests.backends.cpu import fast_path
from tests.backends.cpu.ops.running import LAYOUTS, SWEEP, compiled, drawn

EPSILON, RATE = np.float32(1e-3), np.float32(0.1)
CLOSE = 1e-5
PYTHON = theano.Mode("py", None)  # runs `perform`
ACTIVATIONS = [None, relu_scalar, activations.LeakyRelu(0.2), activations.Elu(), activations.Gelu()]


def error(value, reference):
    """Norm-wise, or 1 where one is not finite and the other is."""
    value, reference = np.asarray(value, "float64"), np.asarray(reference, "float64")
    assert value.shape == reference.shape
    np.testing.assert_array_equal(np.isfinite(value), np.isfinite(reference))
    both = np.isfinite(reference)
    size = np.linalg.norm(reference[both])
    return np.linalg.norm(value[both] - reference[both]) / (size if size else 1)


def normalised(x, scale, bias, axes):
    """(y, mean, inverse, variance), in float64."""
    x, scale, bias = (v.astype("float64") for v in (x, scale, bias))
    mean, variance = x.mean(axes), x.var(axes)
    inverse = 1 / np.sqrt(variance + EPSILON)
    return (x - mean) * inverse * scale + bias, mean, inverse, variance


def gradients(x, g, scale, mean, inverse, axes):
    x, g, scale, mean, inverse = (v.astype("float64") for v in (x, g, scale, mean, inverse))
    off = x - mean
    change = g * inverse - off * (g * off).mean(axes) * inverse**3
    return scale * (change - change.mean(axes)), (g * off).sum(axes) * inverse, g.sum(axes)


SHAPES = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 3000), st.integers(1, 70)),
    st.tuples(st.integers(1, 9), st.integers(1, 900)),
)


@given(
    SHAPES, st.integers(0, 2**31), st.sampled_from(sorted(LAYOUTS)), st.booleans(), st.sampled_from([0.0, 1.0, 30.0])
)
@example((64, 28, 28, 32), 0, "contiguous", True, 1.0)  # several chunks for each of two threads
@example((2, 300, 700), 1, "contiguous", False, 1.0)
@example((3, 5, 1, 1), 2, "reversed", True, 0.0)
@SWEEP
def test_against_float64(shape, seed, layout, by_pixel, off):
    rng, axes = np.random.default_rng(seed), (0,) if by_pixel else tuple(range(len(shape) - 1))
    kept = shape[len(axes) :]
    x, g = drawn(rng, *shape) * np.float32(2) + np.float32(off), drawn(rng, *shape)
    scale, bias, running_mean = (drawn(rng, *kept) for _ in range(3))
    running_variance = abs(drawn(rng, *kept))
    x_there, g_there = LAYOUTS[layout](x), LAYOUTS[layout](g)
    outputs = compiled(BatchNormTrain(), x_there, scale, bias, EPSILON, RATE, running_mean, running_variance)
    y, mean, inverse, variance = normalised(x, scale, bias, axes)
    rows = x.size / scale.size
    unbiased = variance * (rows / (rows - 1) if rows > 1 else np.nan)
    expected = [y, mean, inverse, variance, bias]
    expected += [running_mean * 0.9 + mean * 0.1, running_variance * 0.9 + unbiased * 0.1]
    for value, reference in zip(outputs, expected):
        assert error(value, reference) < CLOSE
    given_ = (scale, outputs[1], outputs[2])
    of_all = compiled(BatchNormGradient(), x_there, g_there, *given_)
    for value, reference in zip(of_all, gradients(x, g, *given_, axes)):
        assert np.abs(value - reference).max() <= 1e-5 * (
            np.abs(reference).max() + np.abs(g).max() * x.size / scale.size
        )
    (y,) = compiled(BatchNormInference(), x_there, running_mean, scale, bias)
    assert error(y, (x.astype("float64") - running_mean) * scale + bias) < CLOSE


def test_means_that_are_many_deviations_cost_no_digits(rng):
    x = (rng.standard_normal((16, 30, 30, 5)) + 1e4).astype("float32")
    x[0, 0, 0] = 0  # an outlier, from which the others are measured
    scale, bias = drawn(rng, 5), drawn(rng, 5)
    values = compiled(BatchNormTrain(), x, scale, bias, EPSILON)
    for value, reference in zip(values, normalised(x, scale, bias, (0, 1, 2))):
        assert error(value, reference) < 2e-5


@pytest.mark.parametrize("activation", ACTIVATIONS[:4:3])
@pytest.mark.parametrize("shape, axes", [((64, 28, 28, 5), 3), ((50, 40, 30, 7), 1), ((70, 3000), 1)])
def test_the_same_bits_with_any_number_of_threads(shape, axes, activation, rng):
    x, g, kept = drawn(rng, *shape), drawn(rng, *shape), shape[axes:]
    scale, bias = drawn(rng, *kept), drawn(rng, *kept)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, user_api="openmp"):
            y, mean, inverse, _, shift = compiled(BatchNormTrain(activation), x, scale, bias, EPSILON)
            rest = [shift] if activation else []
            backward = compiled(BatchNormGradient(activation), x, g, scale, mean, inverse, *rest)
            found.append([y, mean, inverse, *backward])
    for several in found[1:]:
        for value, one in zip(several, found[0]):
            np.testing.assert_array_equal(value, one)


@pytest.mark.parametrize("activation", ACTIVATIONS[1:], ids=str)
def test_activations(activation, rng):
    x, g = drawn(rng, 3, 4, 5, 3), drawn(rng, 3, 4, 5, 3)
    scale, bias = drawn(rng, 3), drawn(rng, 3)
    y, mean, inverse, variance, shift = compiled(BatchNormTrain(activation), x, scale, bias, EPSILON)
    z = tt.constant(normalised(x, scale, bias, (0, 1, 2))[0])
    act = tt.Elemwise(activation)(z)
    before = theano.grad(None, z, known_grads={act: tt.constant(g.astype("float64"))})
    expected, before = theano.function([], [act, before], mode=PYTHON)()
    assert error(y, expected) < 1e-6
    values = compiled(BatchNormGradient(activation), x, g, scale, mean, inverse, shift)
    for value, reference in zip(values, gradients(x, before, scale, mean, inverse, (0, 1, 2))):
        assert error(value, reference) < CLOSE
    for op, given_ in (
        (BatchNormTrain(activation), (x, scale, bias, EPSILON)),
        (BatchNormGradient(activation), (x, g, scale, mean, inverse, shift)),
        (BatchNormInference(activation), (x, mean, scale, bias)),
    ):
        outputs = op(*map(tt.constant, given_), return_list=True)
        for value, reference in zip(compiled(op, *given_), theano.function([], outputs, mode=PYTHON)()):
            assert error(value, reference) < CLOSE


def test_sizes_that_do_not_fit_are_an_error(rng):
    x, three = drawn(rng, 2, 3, 4), drawn(rng, 3)
    with pytest.raises(ValueError, match="BatchNormTrain: input 2 has 3 numbers for 4 channels of the input"):
        compiled(BatchNormTrain(), x, drawn(rng, 4), three, EPSILON)
    with pytest.raises(ValueError, match="BatchNormGradient: its operands have different shapes"):
        compiled(BatchNormGradient(), x, x[:1], *[drawn(rng, 4)] * 3)


def function_of(shape, axes, mode, twice=False):
    """A step of Theano's batch normalisation with running statistics, its gradients, and the evaluation form."""
    x, g = (tt.TensorType("float32", [False] * len(shape))() for _ in range(2))
    kept = [a for a in range(len(shape)) if a not in axes]
    order = [kept.index(a) if a in kept else "x" for a in range(len(shape))]
    rng = np.random.default_rng(3)
    state = [theano.shared(abs(drawn(rng, *(shape[a] for a in kept)))) for _ in range(4)]
    scale, bias, mean, variance = (v.dimshuffle(order) for v in state)
    epsilon, rate = tt.fscalar(), tt.fscalar()
    y, m, inverse, new_mean, new_variance = bn.AbstractBatchNormTrain(axes)(
        x, scale, bias, epsilon, rate, running_mean=mean, running_var=variance
    )
    by_x, *others = theano.grad((y * g).sum(), [x, *state[:2]])
    evaluated = bn.AbstractBatchNormInference(axes)(x, scale, bias, mean, variance, epsilon)
    outputs = [y, m, inverse, by_x, *others, evaluated]
    if twice:
        outputs.append(tt.grad((tt.sqr(by_x) * g).sum() + tt.sqr(y).sum(), x))
    updates = [(old, new.dimshuffle(kept)) for old, new in zip(state[2:], (new_mean, new_variance))]
    return theano.function([x, g, epsilon, rate], outputs, updates=updates, mode=mode), state[2:]


@pytest.mark.parametrize("shape, axes, expected", [
    ((4, 3, 5, 6), (0, 2, 3), "stock"),
    ((4, 3, 5, 6), (0,), PYTHON),
    ((5, 7), (0,), PYTHON),
    ((3, 4, 2, 5), (0, 1, 2), PYTHON),
    ((4, 3, 5), (0, 2), PYTHON),  # left to stock
])  # fmt: skip
def test_five_steps_equal_stocks(shape, axes, expected, stock, rng, close):
    is_stock = expected == "stock"
    modes = (None, stock if is_stock else expected)
    (ours, state), (theirs, expected_state) = (function_of(shape, axes, mode, is_stock) for mode in modes)
    found = {type(node.op) for node in ours.maker.fgraph.apply_nodes}
    assert ({BatchNormTrain, BatchNormGradient, BatchNormInference} <= found) == (axes != (0, 2))
    for _ in range(5):
        x, g = drawn(rng, *shape) * 3 + 1, drawn(rng, *shape)
        for value, reference in zip(ours(x, g, 1e-3, 0.3), theirs(x, g, 1e-3, 0.3)):
            close(value, reference)
    for value, reference in zip(state, expected_state):
        close(value.get_value(), reference.get_value(), 1e-6)
    if is_stock:  # an empty batch
        none = drawn(rng, 0, *shape[1:])
        for value, reference in zip(ours(none, none, 1e-3, 0.3), theirs(none, none, 1e-3, 0.3)):
            np.testing.assert_array_equal(value, reference)


def test_what_is_left_to_stock_and_what_one_number_serves(stock, rng, close):
    """float64 is; a scale, bias or variance of one number, and axes of length 1, are not."""
    x, wide = tt.ftensor4(), tt.dtensor4()
    one = theano.shared(np.ones((1, 1, 1, 1), "float32"), broadcastable=[True] * 4)
    each = theano.shared(np.ones((1, 3, 1, 1), "float32"), broadcastable=[True, False, True, True])
    mean, deviation = each * 2, each * 3
    pooled = x.mean((2, 3), keepdims=True)  # two axes of length 1
    outputs = [
        bn.batch_normalization_train(x, each, each, "spatial")[0] * 2,
        bn.batch_normalization_train(pooled, each, each, "per-activation")[0],
        bn.batch_normalization_test(x, each, one, mean, one, "spatial"),
        bn.batch_normalization(x, each, one, mean, deviation),
        bn.batch_normalization_train(wide, each, each, "spatial")[0],
    ]
    function = theano.function([x, wide], outputs)
    ops = [type(node.op) for node in function.maker.fgraph.apply_nodes]
    assert ops.count(BatchNormTrain) == 2 and ops.count(BatchNormInference) == 2
    value = rng.standard_normal((4, 3, 5, 6))
    values = (value.astype("float32"), value)
    for found, expected in zip(function(*values), theano.function([x, wide], outputs, mode=stock)(*values)):
        close(found, expected)


def test_a_step_of_convolution_normalisation_and_activation(stock, close):
    """Nothing between them: no change of layout, no further pass over activations; also where it ends in a pool."""
    rng = np.random.default_rng(0)
    x, first, second = drawn(rng, 8, 3, 32, 32), drawn(rng, 16, 3, 3, 3), drawn(rng, 4, 16, 3, 3)
    params = [theano.shared(v) for v in (first, second, abs(drawn(rng, 16)), drawn(rng, 16))]
    first, second, gamma, beta = params
    h = tt.nnet.conv2d(tt.constant(x), first, border_mode="half")
    h, mean, _ = bn.batch_normalization_train(h, gamma, beta, "spatial")
    loss = tt.sqr(tt.nnet.conv2d(tt.nnet.relu(h, 0.2), second)).sum() * np.float32(1e-6)
    (new,), _ = recognise([loss])
    step = theano.function([], [new, mean, *theano.grad(new, params)])
    nodes = step.maker.fgraph.toposort()
    (norm,) = (node for node in nodes if isinstance(node.op, BatchNormTrain))
    (backward,) = (node for node in nodes if isinstance(node.op, BatchNormGradient))
    assert isinstance(norm.op.activation, activations.LeakyRelu) and norm.op.activation == backward.op.activation
    assert backward.op.inplace
    assert not [node for node in fast_path.layout_copies(step) if node.inputs[0].owner is not None]
    assert not fast_path.float64(step) and not fast_path.powers(step)
    passes = [node for node in nodes if isinstance(node.op, tt.Elemwise) and node.outputs[0].ndim == 4]
    assert len(passes) <= 2  # of the loss
    expected = theano.function([], [loss, mean, *theano.grad(loss, params)], mode=stock)()
    for value, reference in zip(step(), expected):
        close(value, reference)


def test_an_activation_stays_apart_where_the_normalised_x_is_looked_at(stock, rng, close):
    x, w = tt.fmatrix(), theano.shared(drawn(rng, 5, 6))
    y = BatchNorm((0,))(x.dot(w), np.ones((1, 6), "float32"), np.zeros((1, 6), "float32"), EPSILON)[0]
    outputs = [tt.Elemwise(activations.LeakyRelu(0.5))(y), y]
    loss = (outputs[0] ** 3).sum() + y.sum()
    outputs += [tt.grad(loss, w), tt.tanh(y.owner.outputs[1]) + tt.tanh(y.owner.outputs[1] ** 2)]  # of the mean
    with theano.change_flags(on_opt_error="raise"):
        function = theano.function([x], outputs)
    (norm,) = (node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, BatchNormTrain))
    assert norm.op.activation is None
    value = drawn(rng, 30, 5)
    for found, expected in zip(function(value), theano.function([x], outputs, mode=stock)(value)):
        close(found, expected)


def test_images_of_somebody_who_keeps_them_channels_last(stock, rng, close):
    """As Keras does: transposed before and behind every convolution, and normalised along all axes but the last."""
    params = [
        theano.shared(v) for v in (drawn(rng, 4, 3, 3, 3), drawn(rng, 2, 4, 3, 3), abs(drawn(rng, 4)), drawn(rng, 4))
    ]
    first, second, gamma, beta = params
    x = tt.ftensor4()

    def convolved(x, w):
        return tt.nnet.conv2d(x.dimshuffle(0, 3, 1, 2), w).dimshuffle(0, 2, 3, 1)

    h = bn.batch_normalization_train(convolved(x, first), gamma, beta, [0, 1, 2])[0]
    loss = tt.sqr(convolved(tt.nnet.relu(h, 0.1), second)).sum()
    (new,), _ = recognise([loss])
    with theano.change_flags(on_opt_error="raise"):
        step = theano.function([x], [new, *theano.grad(new, params)])
    assert not fast_path.layout_copies(step)
    assert not any(isinstance(node.op, tt.DimShuffle) for node in step.maker.fgraph.apply_nodes)
    images = drawn(rng, 2, 9, 8, 3)
    for value, reference in zip(
        step(images), theano.function([x], [loss, *theano.grad(loss, params)], mode=stock)(images)
    ):
        close(value, reference)
