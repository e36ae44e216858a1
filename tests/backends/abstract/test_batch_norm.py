"""Spelled batch normalisation becomes one Op with the spelling's values and gradients; the Op by itself."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.gof.graph import inputs, io_toposort
from theano.tensor.nnet import bn

from fastvae.backends.abstract.batch_norm import BatchNorm, averaged, variance
from fastvae.backends.cpu.ops.batch_norm import BatchNormTrain
from fastvae.backends.rewrites.recognise import recognise
from fastvae.elbo.merge import merge_equal_nodes
from fastvae.elbo.rowwise import first_mixing

PYTHON = theano.Mode("py", None)  # runs `perform`
IMAGES, EPSILON = (0, 2, 3), 1e-3
x = tt.tensor4("x", dtype="float32")
gamma, beta = tt.fvector("gamma"), tt.fvector("beta")
running_mean, running_deviation = (theano.shared(np.float32([1, 2, 4]), name=name) for name in ("mean", "deviation"))


def kept(v):
    return v.dimshuffle("x", 0, "x", "x")


def lasagne(parameters=True, update=True):
    """`lasagne.layers.BatchNormLayer.get_output_for`."""
    scale, shift = (kept(gamma), kept(beta)) if parameters else (1, 0)
    mean, inverse = x.mean(IMAGES), tt.inv(tt.sqrt(x.var(IMAGES) + EPSILON))
    if update:
        mean, inverse = mean + 0 * running_mean, inverse + 0 * running_deviation
    return (x - kept(mean)) * (scale * kept(inverse)) + shift


def keras(mode="high_mem"):
    """`keras.backend.theano_backend._old_normalize_batch_in_training`."""
    shape = tt.stack([1, x.shape[1], 1, 1])
    mean, spread, scale, shift = (tt.reshape(v, shape, 4) for v in (x.mean(IMAGES), x.var(IMAGES), gamma, beta))
    return bn.batch_normalization(x, scale, shift, mean, tt.sqrt(spread + EPSILON), mode)


def off(axes=IMAGES):
    return x - x.mean(axes, keepdims=True)


def spread(axes=IMAGES):
    return x.var(axes, keepdims=True)


def deviation(axes=IMAGES):
    return tt.sqrt(spread(axes) + EPSILON)


SPELLINGS = {
    "lasagne": lasagne(),
    "lasagne without parameters": lasagne(parameters=False),
    "lasagne without moving averages": lasagne(update=False),
    "keras": keras(),
    "low_mem": bn.batch_normalization(x, kept(gamma), kept(beta), x.mean(IMAGES, keepdims=True), deviation()),
    "textbook": kept(gamma) * off() / deviation() + kept(beta),
    "textbook in steps": kept(gamma) * (off() / deviation()) + kept(beta),
    "textbook less a shift": kept(gamma) * (off() / deviation()) - kept(beta),
    "without scale": off() / deviation() + kept(beta),
    "without parameters": off() / deviation(),
    "a power": kept(gamma) * off() * (tt.mean(tt.sqr(off()), axis=IMAGES, keepdims=True) + EPSILON) ** -0.5,
    "mean of squares": off() / tt.sqrt(kept(tt.mean(x**2, axis=IMAGES) - x.mean(IMAGES) ** 2) + EPSILON),
    "per activation": off((0,)) / deviation((0,)),
    "residual": x + off() / deviation() * kept(gamma),
    "masked": kept(gamma) * off() / deviation() * (x > 0),
    "before leaky ReLU": tt.nnet.relu(off() / deviation(), 0.2),
}  # fmt: skip
OTHERS = {
    "layer normalisation": (x - x.mean(1, keepdims=True)) / tt.sqrt(x.var(1, keepdims=True) + EPSILON),
    "an unbiased variance": off() / tt.sqrt(x.var(IMAGES, ddof=1, keepdims=True) + EPSILON),
    "no epsilon": off() / tt.sqrt(spread()),
    "another mean": off() / deviation((0,)),
    "the deviation to the power 1": off() / (spread() + EPSILON),
    "another tensor's": (tt.exp(x) - x.mean(IMAGES, keepdims=True)) / deviation(),
    "a constant epsilon only": off() / tt.sqrt(spread() + kept(gamma)),
}


def norms(outputs):
    return [node for node in io_toposort(inputs(outputs), outputs) if isinstance(node.op, BatchNorm)]


@pytest.fixture(scope="module")
def values():
    """Loss and gradients of every spelling, as it is and with the Op, out of one function."""
    losses, recognised, outputs = {}, {}, []
    weight = tt.constant(np.random.RandomState(1).randn(4, 3, 5, 6).astype("float32"))
    for name, y in {**SPELLINGS, **OTHERS}.items():
        losses[name] = (y * weight).sum()
        (recognised[name],), _ = recognise(merge_equal_nodes([losses[name]]))
        outputs.append([[loss, *gradients(loss)] for loss in (losses[name], recognised[name])])
    function = theano.function([x, gamma, beta], sum(sum(outputs, []), []), mode=PYTHON, on_unused_input="ignore")
    rng = np.random.RandomState(0)
    computed = iter(function(*(rng.randn(*s).astype("float32") for s in ((4, 3, 5, 6), (3,), (3,)))))
    found = [[[next(computed) for _ in one] for one in pair] for pair in outputs]
    return recognised, dict(zip(losses, found))


def gradients(loss):
    return theano.grad(loss, [v for v in (x, gamma, beta) if v in inputs([loss])])


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_is_one_op_with_the_same_values_and_gradients(name, values, close):
    recognised, computed = values
    (node,) = norms([recognised[name]])
    assert node.inputs[0] is x
    for value, reference in zip(*computed[name][::-1]):
        close(value, reference, 2e-5)
    if name in ("lasagne", "textbook", "textbook in steps", "keras", "low_mem"):
        assert {gamma, beta} <= set(inputs(node.inputs[1:3]))  # within the Op
    if name.startswith("lasagne") and "averages" not in name:  # whose updates come with them
        assert {running_mean, running_deviation} <= set(inputs([recognised[name]]))


@pytest.mark.parametrize("name", OTHERS)
def test_what_looks_like_it_and_is_not_stays(name, values):
    assert not norms([values[0][name]])


def test_moving_averages_take_the_statistics_of_the_op(stock, rng, close):
    loss = tt.sqr(lasagne()).sum()
    mean, inverse = x.mean(IMAGES), tt.inv(tt.sqrt(x.var(IMAGES) + EPSILON))
    expected = [loss, 0.9 * running_mean + 0.1 * mean, inverse, x.var(IMAGES, keepdims=True)]
    new, _ = recognise(merge_equal_nodes(expected))
    outputs = [*new, tt.grad(new[0], gamma)]
    function = theano.function([x, gamma, beta], outputs)
    nodes = function.maker.fgraph.apply_nodes
    assert sum(isinstance(node.op, BatchNormTrain) for node in nodes) == 1
    assert not any(isinstance(node.op, tt.elemwise.CAReduce) for node in nodes)
    images = rng.randn(4, 3, 5, 6).astype("float32")
    vectors = rng.randn(2, 3).astype("float32")
    reference = theano.function([x, gamma, beta], [*expected, tt.grad(loss, gamma)], mode=PYTHON)
    for value, wanted in zip(function(images, *vectors), reference(images, *vectors)):
        close(value, wanted)


def test_a_scale_that_is_made_of_the_mean(stock, rng, close):
    """The mean cannot come from the Op then, which would need itself."""
    mean = x.mean(IMAGES, keepdims=True)
    expected = [tt.exp(mean) * off() / deviation(), mean]
    outputs, _ = recognise(merge_equal_nodes(expected))
    assert norms(outputs)
    with theano.change_flags(on_opt_error="raise"):
        function = theano.function([x], outputs)
    images = rng.randn(4, 3, 5, 6).astype("float32")
    for value, wanted in zip(function(images), theano.function([x], expected, mode=PYTHON)(images)):
        close(value, wanted)


@pytest.mark.parametrize("output", range(4))
def test_every_output_has_its_gradient(output):
    rng = np.random.RandomState(0)
    images, scale, bias = rng.randn(3, 2, 4, 2), rng.randn(2), rng.randn(2)

    def of(x, *others):
        others = others or (tt.constant(scale), tt.constant(bias))
        return BatchNorm(IMAGES)(x, *map(kept, others), 0.01)[output]

    operands = [images, scale, bias] if output == 0 else [images]
    theano.tensor.verify_grad(of, operands, rng=rng, mode=PYTHON)


def test_without_a_backend_it_is_theanos_own(stock, rng, close):
    operands = [tt.constant(rng.randn(*s).astype("float32")) for s in ((4, 3, 5, 6), (1, 3, 1, 1), (1, 3, 1, 1))]
    outputs = BatchNorm(IMAGES)(*operands, EPSILON)
    function = theano.function([], outputs, mode=stock)
    assert not any(isinstance(node.op, BatchNorm) for node in function.maker.fgraph.apply_nodes)
    for value, reference in zip(function(), theano.function([], outputs, mode=PYTHON)()):
        close(value, reference)


def test_it_mixes_the_rows_of_a_batch():
    assert first_mixing([BatchNorm(IMAGES)(x, kept(gamma), kept(beta), EPSILON)[0]], [x]) is not None


def test_sizes_may_be_multiplied_before_they_divide():
    total = x.sum(IMAGES)
    n, h, w = (tt.cast(x.shape[a], "float32") for a in IMAGES)
    assert averaged(total / (n * h * w)) == averaged(total / n / (w * h)) == (x, IMAGES)
    assert averaged(total / (n * h)) is averaged(x.mean()) is averaged(x) is variance(x.mean(0)) is None
