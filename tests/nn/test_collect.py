import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt
from theano.sandbox.rng_mrg import MRG_RandomStreams

import fastvae
from fastvae import nn
from fastvae.errors import ConfigurationError


def shared(name, *shape, dtype="float32"):
    return theano.shared(np.ones(shape, dtype), name=name)


def names(params):
    return [param.name for param in params]


def test_order_is_that_of_the_layers():
    layers = [nn.Conv2D(1, 2, 3, nn.relu, name="b"), nn.ConvTranspose2D(2, 1, 3, name="a")]
    x = tt.tensor4("x", dtype="float32")
    y = layers[1](layers[0](x))
    expected = [p for layer in layers for p in layer.get_params()]
    assert fastvae.collect_params(y) == expected
    assert fastvae.collect_params([theano.clone(y), y]) == expected


def test_each_parameter_comes_once_and_expressions_in_order():
    a, b = shared("a", 2), shared("b", 2)
    assert fastvae.collect_params([b * 2, a + b, a]) == [b, a]
    assert fastvae.collect_params(a) == [a]
    assert fastvae.collect_params([]) == []


def test_a_deep_graph_is_walked_without_recursion():
    weight = shared("w", 2)
    y = weight
    for _ in range(5000):
        y = y + 1
    assert fastvae.collect_params(y) == [weight]


def test_only_floats_are_trainable():
    half, single, double = (shared(d, 2, dtype=d) for d in ("float16", "float32", "float64"))
    integers = shared("int", 2, dtype="int32"), shared("bool", 2, dtype="bool")
    assert fastvae.collect_params([half * single * double * integers[0] * integers[1]]) == [half, single, double]


def test_states_of_random_generators_are_left_out():
    weight = shared("w", 3)
    mrg = MRG_RandomStreams(1).normal((3,))
    numpys = tt.shared_randomstreams.RandomStreams(1).normal((3,))
    assert fastvae.collect_params(weight * mrg + numpys) == [weight]


def test_variables_that_the_graph_updates_are_left_out():
    weight, running_mean = shared("w", 3), shared("running_mean", 3)
    running_mean.default_update = 0.9 * running_mean + 0.1
    assert fastvae.collect_params(weight - running_mean) == [weight]


def test_scalars_are_schedules_and_unmarked_ones_are_named(caplog):
    weight, kl_weight, rate = shared("w", 3), shared("kl_weight"), fastvae.not_trainable(shared("rate"))
    assert fastvae.collect_params(weight * rate) == [weight] and not caplog.records
    assert fastvae.collect_params(weight * kl_weight * rate) == [weight]
    (record,) = caplog.records
    assert "leaves out the scalar kl_weight: add it to the list" in record.getMessage()


@pytest.mark.parametrize("cloned", [False, True])
@pytest.mark.parametrize(
    "minibatch",
    [
        lambda data: fastvae.Minibatch(data, 4),
        lambda data: fastvae.Minibatch((data, np.arange(20.0)), 4)[0],
        lambda data: pm.Minibatch(data, 4),
        lambda data: pm.Minibatch(data, [4, 2]),
        lambda data: pm.Minibatch(data, [4, Ellipsis, 3]),
        lambda data: pm.Minibatch(data, 4).minibatch,
    ],
    ids=["ours", "ours-pair", "pymc3", "pymc3-two-axes", "pymc3-ellipsis", "pymc3-inner"],
)
def test_data_of_a_minibatch_are_left_out(minibatch, cloned):
    weight = shared("w", 1)
    y = weight * minibatch(np.random.rand(20, 5))
    assert fastvae.collect_params(theano.clone(y) if cloned else y) == [weight]


def test_data_of_a_pymc3_minibatch_that_draws_nothing_are_left_out():
    weight, whole = shared("w", 5), pm.Minibatch(np.random.rand(20, 5), [None, None])
    pm.Minibatch.RNG[id(whole)] = []  # its __del__ expects an entry
    assert fastvae.collect_params(weight * whole) == [weight]


def test_pymc3_data_and_generators_are_left_out():
    weight = shared("w", 3)
    with pm.Model():
        data = pm.Data("data", np.ones(3, "float32"))
    stream = pm.generator(np.ones(3, "float32") for _ in range(3))
    assert fastvae.collect_params(weight * data + stream) == [weight]


def test_data_behind_a_view_or_a_transfer_are_left_out():
    weight, data = shared("w", 5), shared("data", 20, 5)
    rows = tt.cast(MRG_RandomStreams(1).uniform((4,)) * 20, "int64")
    assert fastvae.collect_params(weight * theano.compile.view_op(data)[rows]) == [weight]


def test_tables_of_embeddings_are_parameters():
    table = shared("table", 10, 4)
    labels = pm.Minibatch(np.arange(10), 4)
    ours = fastvae.Minibatch(np.arange(10), 4)
    assert fastvae.collect_params(table[labels] + table[ours]) == [table]
    assert fastvae.collect_params(table[tt.ivector("rows")]) == [table]


def test_a_whole_pymc3_model_with_a_minibatch():
    weight, bias = shared("weight", 5), shared("bias", 4)
    with pm.Model() as model:
        scale = pm.HalfNormal("scale", 1)
        batch = pm.Minibatch(np.random.rand(20, 5).astype("float32"), 4)
        pm.Normal("y", mu=batch.dot(weight) + bias, sigma=scale, observed=np.zeros(4, "float32"), total_size=20)
    assert set(fastvae.collect_params(model.logpt)) == {weight, bias}


def test_parameters_inside_scan_and_op_from_graph():
    a, b = shared("a", 3), shared("b", 3)
    looped, _ = theano.scan(lambda previous: previous * a, outputs_info=tt.ones_like(a), n_steps=3)
    x = tt.vector("x", dtype="float32")
    boxed = theano.OpFromGraph([x], [x * b])(looped[-1])
    assert set(fastvae.collect_params(boxed)) == {a, b}


class LasagneDense:
    """Lasagne's conventions: `W` and `b`, tags in a dictionary of the layer, names without a path."""

    def __init__(self, n_in, n_out):
        self.W, self.b = shared("W", n_in, n_out), shared("b", n_out)
        self.params = {self.W: {"trainable", "regularizable"}, self.b: {"trainable"}}

    def get_output_for(self, x):
        return tt.nnet.relu(tt.dot(x, self.W) + self.b)


class BlocksLinear:
    """Blocks' conventions: parameters without names of their own, annotated with roles in their tags."""

    def __init__(self, n_in, n_out):
        self.parameters = [shared(None, n_in, n_out), shared(None, n_out)]
        for parameter, role in zip(self.parameters, ("WEIGHT", "BIAS")):
            parameter.tag.roles, parameter.tag.annotations = [role], [self]

    def apply(self, x):
        weight, bias = self.parameters
        return tt.dot(x, weight) + bias


def test_layers_with_other_libraries_conventions():
    first, second, third = LasagneDense(4, 3), LasagneDense(3, 3), BlocksLinear(3, 2)
    x = fastvae.Minibatch(np.random.rand(20, 4), 5)
    y = third.apply(second.get_output_for(first.get_output_for(x)))
    assert fastvae.collect_params(y) == [first.W, first.b, second.W, second.b, *third.parameters]


def test_exclude_takes_variables_and_names():
    a, b, c, data = shared("a", 2), shared("b", 2), shared("c", 2), nn.not_trainable(shared("data"))
    graph = a * b * c * data
    assert names(fastvae.collect_params(graph, exclude=["a", c])) == ["b"]
    assert names(fastvae.collect_params(graph, exclude=b)) == ["a", "c"]
    assert names(fastvae.collect_params(graph, exclude={"data"})) == ["a", "b", "c"]


def test_exclude_by_name_takes_every_variable_of_that_name():
    first, second = LasagneDense(4, 3), LasagneDense(3, 2)
    y = second.get_output_for(first.get_output_for(tt.matrix("x")))
    assert fastvae.collect_params(y, exclude="b") == [first.W, second.W]


@pytest.mark.parametrize("unknown", ["A", shared("a")])
def test_an_unknown_entry_of_exclude_is_an_error(unknown):
    graph = shared("a") * shared(None)
    with pytest.raises(ConfigurationError, match="exclude names .* not a shared variable of the graph; it has: <"):
        fastvae.collect_params(graph, exclude=[unknown])


@pytest.mark.parametrize("wrong", [[None], 3, tt.scalar()])
def test_what_exclude_does_not_take(wrong):
    with pytest.raises(ConfigurationError, match="collect_params: exclude=.* must be a theano.shared variable, or a"):
        fastvae.collect_params(shared("a"), exclude=wrong)


def test_what_is_no_expression_is_an_error():
    with pytest.raises(ConfigurationError, match="collect_params: expressions=.*3.0. must be a theano variable"):
        fastvae.collect_params([shared("a"), 3.0])
