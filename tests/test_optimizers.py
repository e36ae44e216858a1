"""Fused Adam against PyMC3's own."""

import functools
import inspect

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae import profiles
from fastvae.backends import cpu
from fastvae.backends.abstract import AdamStep
from fastvae.errors import ConfigurationError
from fastvae.optimizers import adagrad_window, adam, recognised
from tests.conftest import required_device
from tests.linear_gaussian import QUICK
from tests.on_devices import on_every_device


@pytest.fixture(params=["stock", "onednn"])
def mode(request):
    if request.param == "stock":
        return theano.compile.mode.get_default_mode().excluding("fastvae_onednn")
    required_device([finding for finding in [cpu.missing()] if finding])
    cpu.register(profiles.active())
    return None


def trained(optimizer, mode, steps=50, **settings):
    rng = np.random.RandomState(1)
    shapes = [(300, 250), (5,), ()]
    params = [
        theano.shared(np.array(rng.randn(*shape), "float32"), broadcastable=(False,) * len(shape)) for shape in shapes
    ]
    data = [np.array(rng.randn(*shape), "float32") for shape in shapes]
    loss = sum(tt.sum(tt.sin(p * d) + tt.sqr(p) / 2) for p, d in zip(params, data))
    updates = optimizer(loss, params, **settings)
    step = theano.function([], loss, updates=updates, mode=mode)
    losses = [step() for _ in range(steps)]
    return losses, [p.get_value() for p in params], step, updates


def equals_pymc3(mode, theirs, atol):
    for settings in (dict(learning_rate=0.01), dict(learning_rate=0.1, beta1=0.8, beta2=0.99, epsilon=1e-4)):
        losses, params, *_ = trained(adam, mode, **settings)
        expected_losses, expected_params, *_ = trained(pm.adam, theirs, **settings)
        np.testing.assert_allclose(losses, expected_losses, rtol=2e-6)
        for value, expected in zip(params, expected_params):
            assert value.dtype == np.float32
            np.testing.assert_allclose(value, expected, rtol=2e-5, atol=atol)


def test_equals_pymc3(mode):
    equals_pymc3(mode, mode, atol=2e-6)


@on_every_device
def test_equals_pymc3_by_numpy_on_the_host():
    equals_pymc3(None, theano.Mode("py", None), atol=2e-5)  # numpy rounds its sine otherwise


SHAPES = [(), (1,), (3,), (2, 3), (4, 1), (5, 2, 3), (3, 4), (7,), (2, 2), (6,), (1, 5), (300, 7), (11,), (13,), (2, 9)]


@on_every_device
def test_many_parameters_of_any_shape_and_one_gradient_that_is_transposed():
    """More of them than one launch on a GPU takes, held to PyMC3's own, by numpy on the host."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype("float32") for shape in SHAPES]
    pulls = [theano.shared(rng.normal(size=shape).astype("float32")) for shape in SHAPES]
    across = theano.shared(rng.normal(size=(4, 3)).astype("float32"))
    after = []
    for optimizer, mode in ((adam, None), (pm.adam, theano.Mode("py", None))):
        params = [theano.shared(value) for value in values]
        loss = sum(tt.sum(param * pull) for param, pull in zip(params, pulls)) + tt.sum(params[6].T * across)
        step = theano.function([], updates=optimizer(loss, params, learning_rate=1e-2), mode=mode)
        for _ in range(3):
            step()
        after.append([param.get_value() for param in params])
    for ours, stock in zip(*after, strict=True):
        np.testing.assert_allclose(ours, stock, rtol=1e-5, atol=1e-6)


@on_every_device
def test_new_values_beside_the_old_ones():
    rng = np.random.default_rng(1)
    before = [rng.random((3, 5)).astype("float32") for _ in range(4)]
    old = [theano.shared(value) for value in before]
    rate = theano.shared(np.full(1, 0.1, "float32"))[0]
    outputs = AdamStep()(rate, *old[:2], old[2], old[3], return_list=True)
    new, expected = (theano.function([], outputs, mode=mode)() for mode in (None, theano.Mode("py", None)))
    for ours, by_numpy in zip(new, expected, strict=True):
        np.testing.assert_allclose(ours, by_numpy, rtol=1e-6)
    assert all(np.array_equal(variable.get_value(), value) for variable, value in zip(old, before))


def test_one_op_in_place_for_each_large_parameter_and_for_all_small_ones():
    required_device([finding for finding in [cpu.missing()] if finding])
    cpu.register(profiles.active())
    _, _, step, _ = trained(adam, None, steps=1, learning_rate=0.01)
    nodes = [node for node in step.maker.fgraph.apply_nodes if type(node.op).__name__ == "Adam"]
    assert sorted(node.op.n_parameters for node in nodes) == [1, 2] and all(node.op.inplace for node in nodes)


OTHERS = "sgd momentum nesterov_momentum adagrad adagrad_window rmsprop adadelta adamax".split()


@pytest.mark.parametrize("name", OTHERS)
def test_pymc3s_optimizers_update_large_parameters_in_threaded_passes(name):
    required_device([finding for finding in [cpu.missing()] if finding])
    cpu.register(profiles.active())
    optimizer = getattr(pm, name)(learning_rate=0.01)
    theirs = trained(optimizer, QUICK, steps=15)
    losses, params, step, updates = trained(recognised(optimizer), None, steps=15)
    np.testing.assert_allclose(losses, theirs[0], rtol=2e-6)
    for value, expected in zip(params, theirs[1]):
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-5)  # numpy rounds its sine otherwise
    assert [np.shape(v.get_value()) for v in updates] == [np.shape(v.get_value()) for v in theirs[3]]  # as checkpoints
    nodes = step.maker.fgraph.toposort()
    assert not any(v.dtype == "float64" for node in nodes for v in node.outputs)
    large = [v for v in step.maker.fgraph.inputs if v.ndim == 2]
    readers = [node for node in nodes if not set(node.inputs).isdisjoint(large)]
    assert readers and not any(type(node.op) is tt.Elemwise for node in readers)


@on_every_device
def test_every_optimizer_takes_pymc3s_steps():
    """PyMC3's own formulas by numpy on the host; the norm of the gradients is limited, which at first is below that."""
    rng, names = np.random.default_rng(3), [*OTHERS, "adam"]
    data = {name: [rng.normal(size=shape).astype("float32") for shape in ((4, 3), (5,), ())] for name in names}

    def all_at_once(make, mode):
        updated, params = {}, []
        for name in names:
            own = [theano.shared(np.ones_like(value)) for value in data[name]]
            loss = sum(tt.sum(tt.sin(2 * p * d) + p**4 / 8) for p, d in zip(own, data[name]))
            gradients = pm.total_norm_constraint(theano.grad(loss, own), 1.5)
            updated.update(make(getattr(pm, name)(learning_rate=0.1))(gradients, own))
            params += own
        step = theano.function([], updates=list(updated.items()), mode=mode)
        for _ in range(6):
            step()
        return [p.get_value() for p in params]

    theirs = all_at_once(lambda optimizer: optimizer, theano.Mode(linker="py", optimizer=None))
    for found, expected in zip(all_at_once(recognised, None), theirs, strict=True):
        assert found.dtype == np.float32 and np.isfinite(expected).all()
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_a_window_of_squares_is_contiguous_step_by_step():
    w = theano.shared(np.zeros((3, 4), "float32"))
    updates = adagrad_window([tt.ones((3, 4))], [w], n_win=5)
    (squares,) = [v for v in updates if v.ndim == 3]
    value = squares.get_value(borrow=True)
    assert value.shape == (3, 4, 5) and value[..., 0].flags.c_contiguous


def test_pymc3s_own_are_recognised_and_no_others():
    assert recognised(pm.adam) is not pm.adam and recognised(pm.adam).func is adam
    ours = recognised(pm.adam(learning_rate=0.25, beta1=0.5))
    assert ours.func is adam and ours.keywords == dict(learning_rate=0.25, beta1=0.5, beta2=0.999, epsilon=1e-8)
    assert recognised(pm.adagrad_window).func is adagrad_window
    assert recognised(pm.adagrad_window(n_win=3)).keywords["n_win"] == 3
    rate = theano.shared(np.float32(0.1))
    assert recognised(pm.adam(learning_rate=rate)).keywords["learning_rate"] is rate
    for own in (pm.sgd, lambda loss, params: {}, adam, adam(learning_rate=0.1), functools.partial(pm.adam, beta1=rate)):
        again = recognised(own)
        assert again is own or (again.func, again.keywords) == (own.func, own.keywords)


def test_nothing_is_float64(mode):
    _, _, step, updates = trained(adam, mode, steps=1, learning_rate=np.float64(0.01))
    assert {v.dtype for v in updates.values()} == {"float32"}
    assert not any(v.dtype == "float64" for node in step.maker.fgraph.apply_nodes for v in node.inputs + node.outputs)


def test_learning_rate_can_be_shared_and_changed(mode):
    for dtype in ("float32", "float64"):
        rate, w = theano.shared(np.array(0.5, dtype)), theano.shared(np.float32(1))
        step = theano.function([], updates=adam(w * 2, [w], learning_rate=rate), mode=mode)
        step()
        assert w.get_value() == pytest.approx(0.5, abs=1e-5)
        rate.set_value(np.array(0, dtype))
        step()
        assert w.get_value() == pytest.approx(0.5, abs=1e-5)


def test_calling_convention_is_pymc3s():
    ours, stocks = (
        [
            (parameter.name, parameter.kind, parameter.default)
            for parameter in inspect.signature(function).parameters.values()
        ]
        for function in (adam, pm.adam)
    )
    assert ours == stocks
    w = theano.shared(np.float32(1))
    partial = adam(learning_rate=0.25, beta1=0.5)
    assert partial.keywords == dict(learning_rate=0.25, beta1=0.5, beta2=0.999, epsilon=1e-8)
    for updates in (partial(w**2, [w]), partial([2 * w], [w])):
        assert w in updates and len(updates) == 4
    assert fastvae.adam is adam


@on_every_device
def test_is_an_obj_optimizer_of_pymc3():
    with pm.Model():
        pm.Normal("z", 1.0, 1.0, shape=3)
        quick = dict(fn_kwargs=dict(mode=QUICK), progressbar=False)
        fits = [
            pm.ADVI(random_seed=1).fit(5, obj_optimizer=optimizer(learning_rate=0.1), **quick)
            for optimizer in (adam, pm.adam)
        ]
    np.testing.assert_allclose(fits[0].hist, fits[1].hist, rtol=1e-5)


def test_wrong_arguments_are_refused():
    w = theano.shared(np.float32(1))
    for settings, message in [
        (dict(learning_rate=-1), "adam: learning_rate=-1 must be a finite number above 0"),
        (dict(learning_rate=tt.vector()), "learning_rate=<.*> must be .*a theano scalar"),
        (dict(beta1=1.0), r"beta1=1\.0 must be a finite number of at least 0 and below 1"),
        (dict(beta2=-0.1), "beta2=-0.1 must be"),
        (dict(epsilon=-1), "epsilon=-1 must be a finite number of at least 0"),
        (dict(params=[w]), "adam got only params"),
        (dict(loss_or_grads=w**2), "adam got only loss_or_grads"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            adam(**settings)
