"""Models build without test values, and where PyMC3 needs one it is the value that stock computes."""

import contextlib

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt
from theano.configparser import change_flags

from fastvae.backends.cpu import library


def variables_of_a_distribution():
    pm.Model.get_context().Var("s", pm.HalfNormal.dist(1.0))
    pm.glm.GLM(x=np.arange(4.0)[:, None], y=np.arange(4.0))


@contextlib.contextmanager
def stock_model():
    # Stock leaves `raise` behind when a model in which a variable was made is left.
    with change_flags(compute_test_value="off"), pm.Model(theano_config={"compute_test_value": "raise"}) as model:
        yield model


@contextlib.contextmanager
def in_python():
    """Nothing is compiled but the backend, which is there for every test."""
    library.load()
    with change_flags(cxx=""):
        yield


def hierarchical():
    a = pm.Normal("a", 1, 2)
    b = pm.HalfNormal("b", 3)
    c = pm.Normal("c", mu=2 * a + tt.exp(b), sigma=b, shape=3)
    pm.Deterministic("d", c.sum())
    pm.Normal("y", mu=c[0], sigma=1, observed=np.arange(4.0))


def mixture():
    w = pm.Dirichlet("w", np.ones(3))
    mu = pm.Normal("mu", 0, 1, shape=3)
    pm.NormalMixture("y", w=w, mu=mu, sigma=1, observed=np.arange(5.0))


def categorical():
    logits = pm.Normal("logits", 0, 1, shape=(4,))
    pm.Categorical("k", p=tt.exp(logits) / tt.exp(logits).sum(), observed=np.array([0, 3, 1]))


def multivariate():
    a = pm.Gamma("a", 2, 1)
    pm.MvNormal("x", mu=np.zeros(2), cov=a * np.eye(2), shape=2)


def bounded():
    pm.Bound(pm.Normal, lower=1.0)("x", mu=0, sigma=1)
    pm.Uniform("u", 2, 5)
    pm.Potential("p", -tt.sqr(pm.Beta("q", 2, 2)))


def logp(model):
    point = [model.test_point[variable.name] for variable in model.free_RVs]
    return theano.function(model.free_RVs, model.logpt, mode="FAST_COMPILE")(*point)


@pytest.mark.parametrize(
    "build", [hierarchical, mixture, categorical, multivariate, bounded, variables_of_a_distribution]
)
def test_the_test_point_is_the_one_of_stock(build):
    with in_python():
        with pm.Model() as ours:
            build()
        with stock_model() as stock:
            build()
        assert ours.test_point.keys() == stock.test_point.keys()
        for name, value in stock.test_point.items():
            np.testing.assert_allclose(ours.test_point[name], value, rtol=1e-6)
        np.testing.assert_allclose(logp(ours), logp(stock), rtol=1e-5)


def test_an_observation_without_a_test_value_is_scaled_as_stock_scales_it():
    data = np.ones((4, 2), dtype="float32")
    xs = tt.matrix("xs")
    with pm.Model() as model:
        z = pm.Normal("z", 0, 1)
        x = pm.Normal("x", mu=z, sigma=1, observed=xs, total_size=12)
    assert not hasattr(x.tag, "test_value")
    logp = theano.function([z], model.datalogpt, givens={xs: data})(0.5)
    assert logp == pytest.approx(3 * 8 * (-0.5 * 0.25 - 0.5 * np.log(2 * np.pi)), rel=1e-5)


def test_nothing_is_evaluated_between_random_variables():
    with pm.Model():
        z = pm.Normal("z", 0, 1, shape=2)
        assert not hasattr(tt.exp(z).tag, "test_value")


def test_a_prior_that_depends_on_an_input_starts_at_zero():
    condition = tt.matrix("condition")
    with pm.Model() as model:
        pm.Normal("z", mu=tt.dot(condition, np.ones((3, 2), "float32")), sigma=1, shape=(4, 2))
    assert np.array_equal(model.test_point["z"], np.zeros((4, 2)))


def test_a_parameter_that_cannot_be_known_is_still_an_error():
    unknown = tt.vector("unknown")
    with pm.Model(), pytest.raises(Exception, match="unknown"):
        pm.Normal("x", mu=unknown, sigma=1)


def test_a_model_that_asks_for_test_values_gets_them():
    with stock_model():
        z = pm.Normal("z", 0, 1, shape=2)
        assert hasattr(tt.exp(z).tag, "test_value")


def test_the_configuration_is_left_as_it_was():
    before = theano.config.compute_test_value, theano.config.cxx
    with pm.Model():
        pm.HalfNormal("b", 3)
    assert (theano.config.compute_test_value, theano.config.cxx) == before


@pytest.mark.parametrize("make_shared", [False, True])
def test_samplers_join_variables_at_their_start(make_shared):
    with pm.Model() as model:
        hierarchical()
        pm.Poisson("count", 3.0)
        (logp,), joined = pm.join_nonshared_inputs([model.logpt], model.vars, {}, make_shared)
    start = np.concatenate([model.test_point[var.name].ravel() for var in model.vars])
    np.testing.assert_array_equal(joined.tag.test_value, start.astype(joined.dtype))
    with in_python():
        value = theano.function([] if make_shared else [joined], logp)(*[] if make_shared else [joined.tag.test_value])
        np.testing.assert_allclose(value, model.logp(model.test_point), rtol=1e-6)


def test_metropolis_and_smc_sample():
    with pm.Model(), in_python():
        x = pm.Normal("x", 0, 1)
        pm.Normal("y", x, 1, observed=[2.0, 2.0])
        quietly = dict(chains=1, cores=1, progressbar=False, random_seed=1, compute_convergence_checks=False)
        traces = [pm.sample(2_000, tune=500, step=step(), **quietly) for step in (pm.Metropolis, pm.DEMetropolisZ)]
        traces.append(pm.sample_smc(300, random_seed=1))
    for trace in traces:
        assert trace["x"].mean() == pytest.approx(4 / 3, abs=0.15)


def test_an_autoregression_knows_its_order_from_an_expression():
    rho = np.array([[0.5], [0.2]], "float32")
    with pm.Model() as model:
        beta = pm.Normal("beta", 0, 1, shape=(2, 1), testval=rho)
        pm.AR("x", beta[:, 0], sigma=1.0, shape=9, testval=np.arange(9.0))
    with stock_model() as stock:
        beta = pm.Normal("beta", 0, 1, shape=(2, 1), testval=rho)
        pm.AR("x", beta[:, 0], sigma=1.0, shape=9, testval=np.arange(9.0))
    with in_python():
        np.testing.assert_allclose(model.logp(model.test_point), stock.logp(stock.test_point), rtol=1e-6)


def test_a_flow_takes_a_parameter_without_a_test_value():
    v = np.array([3.0, 4.0], "float32")
    flow = pm.variational.flows.HouseholderFlow(v=tt.as_tensor(v) * 1, dim=2, z0=tt.zeros((1, 2)))
    with in_python():
        np.testing.assert_allclose(flow.H.eval(), np.eye(2) - 2 * np.outer(v, v) / 25, rtol=1e-6)


def test_chains_start_where_they_are_told_to():
    with pm.Model(), in_python():
        pm.Normal("x", 0, 1, shape=2)
        quietly = dict(chains=1, cores=1, progressbar=False, compute_convergence_checks=False)
        trace = pm.sample(1, tune=0, start={"x": np.float32([40, 50])}, step=pm.Metropolis(), **quietly)
        assert np.abs(trace["x"][0] - [40, 50]).max() < 10
        with pytest.raises(ValueError, match="Expected shape"):
            pm.sample(1, tune=0, start={"x": np.zeros(3)}, **quietly)


def test_deterministic_variables_have_shapes():
    with pm.Model() as model:
        hierarchical()
        trace = [{"a": np.float32(1), "b_log__": np.float32(0), "b": np.float32(1), "c": np.zeros(3, "float32")}]
    with in_python():
        plates = pm.model_graph.ModelGraph(model).get_plates()
        assert "d" in plates[()] and "c" in plates[(3,)]
        with model:
            draws = pm.fast_sample_posterior_predictive(trace, 2, var_names=["d", "y"])
    assert draws["d"].shape == (2,) and draws["y"].shape == (2, 4)
