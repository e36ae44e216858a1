"""Log-probabilities under logistic mixtures and their gradient: every layout and size of numbers, and in a graph."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends import abstract
from fastvae.backends.abstract import discretized_logistic
from fastvae.backends.cpu.ops.layout import Layout
from fastvae.backends.cpu.ops.pixels import PixelPass
from tests.backends.abstract import logistic_oracle
from tests.backends.cpu.ops.running import LAYOUTS, compiled

# batch, channels, components, height, width
SHAPES = [(2, 1, 1, 5, 4), (1, 3, 1, 9, 9), (2, 1, 5, 9, 9), (3, 2, 2, 1, 1), (1, 3, 4, 11, 3)]


def forward(components, last):
    return PixelPass(discretized_logistic.DiscretizedLogisticLogProb(components), last)


def backward(components, last):
    return PixelPass(discretized_logistic.DiscretizedLogisticLogProbGradient(components), last)


def nhwc(a):
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("last", [False, True])
def test_values(layout, last, close):
    rng, lay = np.random.default_rng(2), LAYOUTS[layout]
    for shape in SHAPES:
        components = shape[2]
        x, outputs, g = logistic_oracle.drawn(rng, shape, spread=2)
        of_decoder = lay(nhwc(outputs) if last else outputs)
        (nats,) = compiled(forward(components, last), lay(x), of_decoder)
        close(nats, logistic_oracle.log_prob(x, outputs, components).real, 1e-6)
        (gradient,) = compiled(backward(components, last), lay(x), of_decoder, lay(g))
        expected = logistic_oracle.gradient(x, outputs, components, g)
        close(gradient.transpose(0, 3, 1, 2) if last else gradient, expected, 1e-6)


@pytest.mark.parametrize("log_scale", [-20, -7, 0, 7, 20])
@pytest.mark.parametrize("distance", [0, 1e-3, 1, 1e4])
def test_means_near_and_far_and_log_scales_at_and_beyond_the_clip(distance, log_scale, close):
    rng = np.random.default_rng(7)
    x = (np.arange(256, dtype="float32") / 255).reshape(1, 1, 16, 16)
    centre = (2 * x - 1 + distance * rng.standard_normal(x.shape)).astype("float32")
    outputs = np.concatenate([centre, np.full_like(x, log_scale)], axis=1)
    (nats,) = compiled(forward(1, False), x, outputs)
    (gradient,) = compiled(backward(1, False), x, outputs, np.ones_like(x))
    expected = logistic_oracle.gradient(x, outputs, 1, np.ones_like(x))
    close(nats, logistic_oracle.log_prob(x, outputs, 1).real, 1e-6)
    for of, (value, reference) in enumerate(zip(gradient[0], expected[0])):
        clipped = of == 1 and abs(log_scale) > 7
        close(value, np.zeros_like(reference) if clipped else reference, 1e-6)


def test_a_value_depends_neither_on_its_place_nor_on_the_layout():
    rng = np.random.default_rng(9)
    x, outputs, g = logistic_oracle.drawn(rng, (64, 1, 5, 9, 9), spread=2)  # enough for two threads, with a remainder
    (nats,), (gradient,) = compiled(forward(5, False), x, outputs), compiled(backward(5, False), x, outputs, g)
    last = compiled(forward(5, True), x, nhwc(outputs))[0], compiled(backward(5, True), x, nhwc(outputs), g)[0]
    np.testing.assert_array_equal(last[0], nats)
    np.testing.assert_array_equal(last[1].transpose(0, 3, 1, 2), gradient)
    for part in (np.s_[3:4, :, 1:], np.s_[:1, :, :, 5:]):  # one thread
        some = x[part], outputs[part]
        np.testing.assert_array_equal(compiled(forward(5, False), *some)[0], nats[part])
        np.testing.assert_array_equal(compiled(backward(5, False), *some, g[part])[0], gradient[part])


def test_nan_is_kept_and_stays_in_its_pixel():
    x = np.array([0, 128 / 255, 1, 0.2], "float32").reshape(1, 1, 2, 2)
    for place in range(6):
        outputs = np.zeros((1, 6, 2, 2), "float32")
        outputs[0, place].flat[:3] = np.nan
        (nats,) = compiled(forward(2, False), x, outputs)
        (gradient,) = compiled(backward(2, False), x, outputs, np.ones_like(x))
        assert np.isnan(nats.ravel()).tolist() == [True] * 3 + [False]
        assert np.isnan(gradient.reshape(6, 4)).any(axis=0).tolist() == [True] * 3 + [False]


def test_sizes_that_do_not_fit_are_an_error():
    x = np.zeros((2, 1, 3, 3), "float32")
    with pytest.raises(ValueError, match=r"DiscretizedLogisticLogProb: .* \(2, 5, 3, 3\) are not 6 for each pixel"):
        compiled(forward(2, False), x, np.zeros((2, 5, 3, 3), "float32"))
    with pytest.raises(ValueError, match=r"DiscretizedLogisticLogProbGradient: .* are not 2 for each"):
        compiled(backward(1, False), x, np.zeros((2, 2, 3, 3), "float32"), x[:1])


@pytest.mark.parametrize("convolution", [False, True])
def test_a_step_has_the_two_ops_and_moves_no_outputs(convolution, close):
    rng = np.random.default_rng(3)
    x, _, _ = logistic_oracle.drawn(rng, (4, 1, 2, 6, 6))
    z = theano.shared(rng.standard_normal((4, 2, 6, 6)).astype("float32"))
    if convolution:
        w = theano.shared(rng.standard_normal((2, 6, 1, 1)).astype("float32"))
        outputs = abstract.conv_transpose2d(z, w)
        value = np.einsum("nihw,io->nohw", z.get_value(), w.get_value()[:, :, 0, 0])
    else:
        w = theano.shared(rng.standard_normal((72, 6 * 36)).astype("float32"))
        outputs = abstract.Unflatten((6, 6, 6))(abstract.dense(z.flatten(2), w))
        value = (z.get_value().reshape(4, -1) @ w.get_value()).reshape(4, 6, 6, 6)
    loss = tt.sum(discretized_logistic.log_prob(tt.constant(x), outputs, 2))
    function = theano.function([], [loss, *theano.grad(loss, [z, w])])
    nodes = function.maker.fgraph.apply_nodes
    ours = [node for node in nodes if isinstance(node.op, PixelPass)]
    assert [node.op.last for node in ours] == [convolution] * 2
    assert not any(isinstance(v.owner.op, Layout) for node in ours for v in node.inputs[1:2] if v.owner)
    assert {type(node.op.abstract_op) for node in ours} == {
        discretized_logistic.DiscretizedLogisticLogProb,
        discretized_logistic.DiscretizedLogisticLogProbGradient,
    }
    assert not any(isinstance(node.op, tt.Elemwise) and len(node.inputs) > 1 for node in nodes)
    found, gz, gw = function()
    close(found, logistic_oracle.log_prob(x, value, 2).real.sum())
    top = logistic_oracle.gradient(x, value, 2, np.ones_like(x))
    if convolution:
        close(gz, np.einsum("nohw,io->nihw", top, w.get_value()[:, :, 0, 0]))
        close(gw[:, :, 0, 0], np.einsum("nihw,nohw->io", z.get_value(), top))
    else:
        close(gz, (top.reshape(4, -1) @ w.get_value().T).reshape(4, 2, 6, 6))
        close(gw, z.get_value().reshape(4, -1).T @ top.reshape(4, -1))
