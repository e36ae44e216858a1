"""Training form and evaluation form of graphs that users build from Theano's own functions."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.tensor.nnet.bn import batch_normalization_test, batch_normalization_train

from fastvae import nn
from fastvae.errors import ConfigurationError
from tests.on_devices import on_every_device

AXES = (0, 2, 3)


def shared(value, name, full=False):
    value = np.full((1, 3, 1, 1) if full else 3, value, "float32")
    return theano.shared(value, name=name, broadcastable=(True, False, True, True) if full else (False,))


def network(x, full=False, running=True, **options):
    """A batch normalisation by stock Theano, and its gamma, beta, running mean and variance."""
    gamma, beta, mean, var = (shared(v, n, full) for v, n in ((2, "gamma"), (1, "beta"), (0.5, "mean"), (4, "var")))
    if running:
        options.update(running_mean=mean, running_var=var)
    return batch_normalization_train(x, gamma, beta, axes="spatial", **options), (gamma, beta, mean, var)


@on_every_device
@pytest.mark.parametrize("full", [False, True], ids=["vectors", "as many axes as the input"])
def test_stock_graphs_become_stock_inference(full):
    x = tt.ftensor4("x")
    (y, mean_of_batch, inverse_sd, new_mean, new_var), (gamma, beta, mean, var) = network(x, full, epsilon=1e-3)
    mean.default_update, var.default_update = new_mean, new_var  # which evaluation must not carry out
    expected = batch_normalization_test(x, gamma, beta, mean.clone(), var.clone(), axes="spatial", epsilon=1e-3)
    both = nn.for_evaluation([tt.tanh(y), mean_of_batch, inverse_sd, new_mean, new_var])
    evaluate = theano.function([x], [*both, tt.tanh(expected)])
    value = np.random.default_rng(0).normal(size=(2, 3, 2, 2)).astype("float32")
    found, m, i, *unchanged, stock = evaluate(value)
    np.testing.assert_array_equal(found, stock)
    assert np.all(m == 0.5) and np.allclose(i, 1 / np.sqrt(4.001)) and [v.flat[0] for v in unchanged] == [0.5, 4]
    mean.set_value(mean.get_value() + np.float32(1))  # it looks at the shared variables, not at copies
    assert np.all(evaluate(value)[1] == 1.5)
    train = theano.function([x], y)
    train(value)  # by the default updates
    np.testing.assert_allclose(mean.get_value().ravel(), 0.9 * 1.5 + 0.1 * value.mean(AXES), rtol=1e-5)


def test_statistics_are_state_in_evaluation_form_too():
    layer, x = nn.BatchNorm(3, name="norm"), tt.fmatrix("x")
    y = nn.for_evaluation(layer(x))
    assert nn.running_statistics(y) == layer.get_state() and nn.running_updates(y) == {}
    assert nn.collect_params(y) == layer.get_params()


def test_what_has_no_training_form_stays_the_same_object():
    x = tt.ftensor4("x")
    (y, *_), _ = network(x)
    other = tt.exp(x)
    found = nn.for_evaluation([other, other + y, x])
    assert found[0] is other and found[1].owner.inputs[0] is other and found[2] is x
    assert nn.for_evaluation(other) is other
    assert nn.for_evaluation(found[1]) is found[1]


@on_every_device
def test_gradients_taken_before_are_those_of_the_evaluation_form(assert_close):
    x, layer = tt.fmatrix("x"), nn.BatchNorm(3)
    layer.running_mean.set_value(np.float32([1, 2, 3]))
    loss = tt.sum(nn.Dropout(0.5)(layer(x)) ** 3)
    wrt = [x, *layer.get_params()]
    before, after = nn.for_evaluation(tt.grad(loss, wrt)), tt.grad(nn.for_evaluation(loss), wrt)
    found = theano.function([x], [*before, *after])(np.random.default_rng(0).normal(size=(4, 3)).astype("float32"))
    for gradient, expected in zip(found[:3], found[3:]):
        assert_close(gradient, expected)


def test_statistics_of_the_batch_are_kept_and_named(caplog):
    x = tt.ftensor4("x")
    (y, *_), _ = network(x, running=False)
    assert nn.for_evaluation(y) is y
    (line,) = caplog.messages
    assert "the batch normalisation by gamma has no running mean and variance" in line and "running_mean=" in line
    assert nn.running_statistics(y) == [] and nn.running_updates(y) == {}


def test_a_network_within_a_scan_is_named(caplog):
    layer, x = nn.BatchNorm(3, name="norm"), tt.ftensor3("x")
    y, _ = theano.scan(layer, sequences=x, non_sequences=[], n_steps=x.shape[0])
    nn.for_evaluation(y)
    assert "within it stay in training form" in caplog.text and "scan" in caplog.text
    assert nn.running_updates(y) == {} and "are not updated: move them out of it" in caplog.text


def test_a_statistic_of_two_nodes_gets_the_average_of_their_updates():
    layer, x, z = nn.BatchNorm(2, momentum=0.5), tt.fmatrix("x"), tt.fmatrix("z")
    step = theano.function([x, z], updates=nn.running_updates([layer(x), layer(z)]))
    step(np.array([[0, 2], [2, 2]], "float32"), np.array([[4, 2], [6, 4]], "float32"))
    np.testing.assert_allclose(layer.running_mean.get_value(), [0.5 * (1 + 5) / 2, 0.5 * (2 + 3) / 2])
    np.testing.assert_allclose(layer.running_var.get_value(), [0.5 + 0.5 * 2, 0.5 + 0.5 * (0 + 2) / 2])


def test_statistics_that_are_computed_are_used_but_not_updated():
    x, mean = tt.fmatrix("x"), theano.shared(np.array([1, 2], "float32"))
    ones = np.ones(2, "float32")
    y, *_ = batch_normalization_train(x, ones, ones, running_mean=2 * mean, running_var=ones)
    assert nn.running_updates(y) == {}
    evaluated = nn.for_evaluation(y).eval({x: [[4, 4]]})
    np.testing.assert_allclose(evaluated, [[1 + 2 / np.sqrt(1.0001), 1]], rtol=1e-6)


@pytest.mark.parametrize("function", [nn.for_evaluation, nn.running_statistics, nn.running_updates])
def test_what_is_no_expression(function):
    with pytest.raises(ConfigurationError, match=f"{function.__name__}: outputs="):
        function(np.ones(2))
