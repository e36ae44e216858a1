"""Whole numbers keep their values wherever PyMC3 converts them, without a float64 in a training step."""

import json
import sys
import warnings

import numpy as np
import pandas as pd
import pymc3 as pm
import pytest
import scipy.stats
import theano
import theano.tensor as tt

import fastvae
from fastvae.backends.cpu import library
from fastvae.errors import DataError
from fastvae.stack import _integers
from tests.stack import counts

BIG = [65_540, 40_000, 3]


@pytest.fixture(autouse=True)
def in_python():
    """Nothing here is computed often enough to be compiled, but for the backend, which is there for every test."""
    library.load()
    with theano.change_flags(cxx=""):
        yield


def observed(distribution, data, **parameters):
    with pm.Model():
        return distribution("y", observed=data, **parameters)


@pytest.mark.parametrize(
    "data",
    [
        *[np.array(BIG, dtype) for dtype in ("int32", "int64", "uint32", "uint64", ">i4", "float64")],
        BIG,
        pd.Series(BIG),
        pd.Series(BIG, dtype="Int64"),
        pd.DataFrame({"a": BIG}),
        np.array(BIG, object),
        theano.shared(np.array(BIG)),
        theano.shared(np.array(BIG, "float32")),
    ],
    ids=lambda data: f"{type(data).__name__}-{getattr(data, 'dtype', '')}",
)
@pytest.mark.parametrize("distribution", [pm.Poisson, pm.Normal])
def test_observed_numbers_are_exact(distribution, data):
    y = observed(distribution, data, mu=5.0)
    value = y.eval()
    np.testing.assert_array_equal(np.ravel(value), BIG)
    assert value.dtype == y.dtype and y.logp_elemwiset.dtype == "float32"


@pytest.mark.parametrize("minibatch", [fastvae.Minibatch, pm.Minibatch])
@pytest.mark.parametrize("distribution", [pm.Poisson, pm.Normal])
def test_minibatches_are_exact(distribution, minibatch):
    y = observed(distribution, minibatch(np.array([65_540, 65_540]), 3), mu=5.0, total_size=2)
    np.testing.assert_array_equal(y.eval(), [65_540] * 3)
    assert y.logp_elemwiset.dtype == "float32"


@pytest.mark.parametrize(
    "data",
    [
        pd.Series([65_540, None, 3]),
        pd.Series([65_540, None, 3], dtype="Int64"),
        np.ma.masked_less([65_540, -1, 3], 0),
    ],
)
def test_missing_numbers_are_missing_and_the_others_exact(data):
    with pytest.warns(pm.exceptions.ImputationWarning):
        y = observed(pm.Poisson, data, mu=50_000.0)
    np.testing.assert_array_equal(y.tag.test_value, [65_540, 50_000, 3])


def test_small_numbers_keep_the_type_in_which_they_meet_float32_as_float32():
    assert observed(pm.Poisson, [3, 16_383], mu=5.0).dtype == "int16"
    assert observed(pm.Binomial, [3], n=16_383, p=0.5).distribution.n.dtype == "int16"


@pytest.mark.parametrize("n", [16_384, 32_767, 32_768, 65_536, 10**6])
def test_no_sum_within_a_density_wraps(n):
    y = observed(pm.Binomial, [n - 1, n], n=n, p=0.9)
    expected = scipy.stats.binom.logpmf([n - 1, n], n, 0.9)
    np.testing.assert_allclose(y.logp_elemwiset.eval(), expected, rtol=1e-5)
    y = observed(pm.DiscreteUniform, [0], lower=-n, upper=n)
    np.testing.assert_allclose(y.logp_elemwiset.eval(), [-np.log(2 * n + 1)], rtol=1e-6)


def test_data_index_and_compute_exactly():
    with pm.Model() as model:
        index = pm.Data("index", np.arange(40_000))
        pm.set_data({"index": [40_000, 70_000]}, model)
    weight = theano.shared(np.float32(0.5))
    for expression, value in [
        (index, [40_000, 70_000]),
        (index**2, [1_600_000_000, 4_900_000_000]),
        ((index - 40_000) * weight, [0, 15_000]),
        (tt.log(index), np.log([40_000, 70_000])),
        (index.mean(), 55_000),
        (tt.dot(index, weight.repeat(2)), 55_000),
        (tt.concatenate([index, weight.repeat(1)]), [40_000, 70_000, 0.5]),
        (tt.stack([index[0], weight]), [40_000, 0.5]),
    ]:
        np.testing.assert_allclose(expression.eval(), value, rtol=1e-6)
        assert expression.dtype in ("int64", "float32")
    assert index.astype("float64").dtype == "float64"  # whoever asks for it by name


def test_new_data_take_the_type_of_the_old():
    with pm.Model() as model:
        floats, whole = pm.Data("floats", [1.0, 2.0]), pm.Data("whole", [1, 2])
        pm.set_data({"floats": [40_000, 3], "whole": np.array([40_000, 3], "uint16")}, model)
        np.testing.assert_array_equal([floats.get_value(), whole.get_value()], [[40_000, 3]] * 2)
        with pytest.raises(DataError, match="'whole' holds whole numbers .*found float32"):
            pm.set_data({"whole": [0.5, 3]}, model)


FREE = {
    "poisson": (pm.Poisson, dict(mu=100_000.0), 100_000),
    "uniform": (pm.DiscreteUniform, dict(lower=0, upper=10**9), 5 * 10**8),
    "binomial": (pm.Binomial, dict(n=100_000, p=0.5), 50_000),
    "category": (pm.Categorical, dict(p=np.ones(40_000) / 40_000, testval=39_999), 39_999),
    "bound": (pm.Bound(pm.Poisson, lower=50_000), dict(mu=100_000.0), 50_001),
    "mixture": (
        pm.Mixture,
        dict(w=np.array([0.9, 0.1], "float32"), comp_dists=[pm.Poisson.dist(4e4), pm.Poisson.dist(3.0)]),
        3,
    ),
}


@pytest.mark.parametrize("name", FREE)
def test_free_variables_start_and_draw_where_they_should(name):
    distribution, parameters, start = FREE[name]
    with pm.Model() as model:
        x = distribution("x", **parameters)
        draws = pm.sample_prior_predictive(50, var_names=["x"], random_seed=1)["x"]
    assert model.test_point["x"] == start and np.isfinite(model.logp(model.test_point))
    assert draws.min() >= 0 and draws.max() > 32_767 and x.dtype == "int64"


QUIETLY = dict(chains=1, cores=1, random_seed=1, progressbar=False, compute_convergence_checks=False)


def test_sampling_walks_over_large_numbers():
    with pm.Model():
        pm.Poisson("x", 100_000.0)
        trace = pm.sample(1_000, tune=500, **QUIETLY)
    assert abs(trace["x"].mean() - 100_000) < 200 and 150 < trace["x"].std() < 600


@pytest.mark.parametrize(
    "make, number, becomes",
    [
        (lambda: observed(pm.Normal, [1, 2**24 + 1], mu=0.0), 16_777_217, 16_777_216),
        (lambda: observed(pm.Poisson, [1, 2**24 + 1], mu=9.0), 16_777_217, 16_777_216),
        (lambda: observed(pm.Normal, [1.0], mu=2**24 + 1), 16_777_217, 16_777_216),
        (lambda: observed(pm.Normal, [1.0, 2.0], mu=np.array([3, 2**31 + 1])), 2_147_483_649, 2_147_483_648),
        (lambda: observed(pm.Binomial, [1], n=2**24 + 1, p=0.5), 16_777_217, 16_777_216),
        (lambda: observed(pm.Normal, theano.shared(np.array([2**24 + 1])), mu=0.0), 16_777_217, 16_777_216),
        (lambda: observed(pm.Normal, fastvae.Minibatch(np.array([2**24 + 1]), 1), mu=0.0), 16_777_217, 16_777_216),
        (lambda: data_times_weight([2**24 + 1]), 16_777_217, 16_777_216),
    ],
)
def test_a_number_that_float32_does_not_hold_is_said(make, number, becomes):
    with pytest.warns(UserWarning, match=f"{number}, which becomes {becomes}.*subtract an offset or divide"):
        make()


def data_times_weight(values):
    with pm.Model():
        return pm.Data("data", values) * theano.shared(np.float32(1))


def test_numbers_that_float32_holds_are_not_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observed(pm.Normal, [2**24, 2**24 + 2, 2**30], mu=2**24)


@pytest.mark.parametrize("data", [[2**63], [2**70], np.array([2**63], "uint64"), [1.0, np.nan], [np.inf]])
def test_what_is_no_whole_number_of_int64_is_refused(data):
    with pytest.raises(DataError, match="not a whole number of int64.*mask"):
        observed(pm.Poisson, data, mu=5.0)


def test_the_ends_of_int64_are_numbers_of_int64():
    ends = np.array([-(2**63), 2**63 - 1])
    np.testing.assert_array_equal(_integers.whole(ends, "ends"), ends)


def test_a_start_outside_the_type_that_was_asked_for_is_refused():
    with pytest.raises(DataError, match="100000, which is outside int16: take a wider type, such as int64"):
        with pm.Model():
            pm.Poisson("x", 100_000.0, dtype="int16")


def test_a_minibatch_does_not_wrap_in_the_type_that_was_asked_for():
    minibatch = pm.Minibatch(np.array([1, 2], "uint8"), 3)
    for wrong in (lambda: pm.Minibatch([40_000], 3, dtype="int16"), lambda: minibatch.set_value([1, 256])):
        with pytest.raises(DataError, match="(40000|256), which is outside .*: take a wider type"):
            wrong()
    minibatch.set_value([3, 255])
    assert minibatch.shared.get_value().tolist() == [3, 255]


def test_no_other_place_of_pymc3_uses_the_stock_conversions():
    stock = {"intX", "floatX", "pandas_to_array", "as_tensor", "set_data"}
    left = [
        f"{name}.{attribute}"
        for name, module in sys.modules.items()
        if name.startswith("pymc3") and ".tests" not in name
        for attribute, value in vars(module).items()
        if attribute in stock
        and callable(value)
        and getattr(value, "__module__", "").startswith("pymc3")
        and value.__code__.co_filename != _integers.__file__
    ]
    assert left == []


def test_densities_equal_those_of_stock_with_float64_and_a_step_has_no_float64(run, monkeypatch):
    done = run(sys.executable, "-W", "ignore", "-m", "tests.stack.counts", flags="floatX=float64,blas.ldflags=")
    assert done.returncode == 0, done.stderr
    model, stock = counts.model(), json.loads(done.stdout)
    ours = counts.log_densities(model)
    assert ours.keys() == stock.keys()
    for name, value in ours.items():
        cancels = name in ("poisson", "shared", "negative")  # terms of a million in a density of a few units
        assert value == pytest.approx(stock[name], rel=3e-4 if cancels else 2e-5), name

    compiled, function = [], theano.function
    monkeypatch.setattr(theano, "function", lambda *args, **kw: compiled.append(function(*args, **kw)) or compiled[-1])
    approx = fastvae.fit(2, model=model, progressbar=False, random_seed=1)
    assert np.isfinite(approx.hist).all() and compiled
    for step in compiled:
        assert not [v for node in step.maker.fgraph.toposort() for v in node.outputs if v.dtype == "float64"]
