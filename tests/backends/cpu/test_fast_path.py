"""The walk over a compiled function finds what it is for."""

import types

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from bench import networks, theano_network
from fastvae import elbo
from fastvae.backends.cpu.ops.layout import Layout, to_nhwc
from fastvae.backends.cpu.ops.reshape_like import ReshapeLike
from fastvae.backends.cpu.ops.rows import TakeRows
from tests.backends.cpu import fast_path


@pytest.fixture(scope="module")
def slow():
    """A function with one of each, compiled without the backend's rewrites, after a call."""
    x, power, images = tt.fmatrix("x"), tt.fscalar("power"), tt.ftensor4("images")
    outputs = [tt.sum(x**power), x.astype("float64").sum(0).astype("float32"), to_nhwc(images), x[:, ::2]]
    mode = theano.compile.mode.get_default_mode().excluding("fastvae_onednn", "fusion")
    function = theano.function([x, power, images], outputs, mode=mode)
    function(np.ones((20, 30), "float32"), np.float32(2), np.ones((2, 3, 4, 5), "float32"))
    return function


def test_what_is_slow_is_found(slow):
    found = fast_path.findings(slow)
    assert set(found) == {"float64", "single-threaded", "layout copies", "pow"}
    assert len(found["layout copies"]) == len(found["pow"]) == 1
    assert len(found["single-threaded"]) == 4  # the power, two sums and a cast; no copy of layout, no view
    assert len(fast_path.single_threaded(slow, 599)) == 4 and not fast_path.single_threaded(slow, 600)


def test_float64_within_a_fused_pass_is_found():
    x = tt.fmatrix("x")
    y = (tt.exp(x.astype("float64")) * 2.5).astype("float32")
    function = theano.function([x], y, mode=theano.Mode("py", "fast_run"))
    assert len(function.maker.fgraph.apply_nodes) == 1 and fast_path.float64(function)


def step_of(name):
    """The step of a user's network of `bench/networks.py`, rewritten but not compiled."""
    network = networks.NETWORKS[name]
    images = np.zeros((network.batch_size, *network.image_shape), "float32")
    weights = networks.initial_weights(network, np.random.default_rng(0))

    def fit(n, local_rv, more_replacements, **options):
        replacements = {xs: fastvae.Minibatch(images, network.batch_size) for xs in more_replacements}
        objective = pm.ADVI(local_rv=local_rv).objective
        loss, updates = elbo.step_updates(objective, more_replacements=replacements, **options)
        return theano.function([], loss, updates=updates, mode=theano.Mode("py", "fast_run"))

    problem = types.SimpleNamespace(config={"name": name}, images=images, weights=weights, batch_size=len(images))
    return theano_network.train(problem, fit)


def reshaped(node):
    """Whether a change of layout is before or behind a view of images as vectors, or of the minibatch."""
    source = node.inputs[0].owner
    users = [client for client, _ in node.outputs[0].clients if client != "output"]
    neighbours = [source, *users] if source else []
    return not source or any(isinstance(n.op, (tt.Reshape, ReshapeLike, TakeRows)) for n in neighbours)


@pytest.mark.parametrize("name", sorted(networks.NETWORKS))
def test_users_networks_are_on_the_fast_path(name):
    step = step_of(name)
    assert not fast_path.float64(step) and not fast_path.powers(step)
    for node in fast_path.single_threaded(step):
        assert not [v for v in (*node.inputs, *node.outputs) if getattr(v, "ndim", 0) == 4], node
    changes = [node for node in step.maker.fgraph.apply_nodes if isinstance(node.op, Layout)]
    assert all(map(reshaped, changes)), changes
