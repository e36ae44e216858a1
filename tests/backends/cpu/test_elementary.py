"""The inlined functions against float64, on numbers of every size, and the limits of each."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from scipy import special
from theano import scalar

from fastvae.backends.cpu import elementary
from fastvae.backends.cpu.vectorize import VectorElemwise

# What each is in float64, and the units in the last place that it may be off.
FUNCTIONS = {
    "exp": (tt.exp, np.exp, 1.5),
    "expm1": (tt.expm1, np.expm1, 1.5),
    "log": (tt.log, np.log, 1.5),
    "log1p": (tt.log1p, np.log1p, 1.5),
    "tanh": (tt.tanh, np.tanh, 3),
    "sigmoid": (tt.nnet.sigmoid, lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))), 3),
    "softplus": (tt.nnet.softplus, lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), 3),
    "erf": (tt.erf, special.erf, 2),
    "erfc": (tt.erfc, special.erfc, 4),
}
LIMITS = [0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1, -1, 88.7, 88.8, -87.4, -103.9, -104.1, 3e38, -3e38]


@pytest.fixture(scope="module")
def arguments():
    """Float32 of every exponent and both signs, more around 0 and 1, and the limits."""
    rng = np.random.default_rng(3)
    everywhere = rng.integers(0, 2**32, 300_000, dtype="uint32").view("float32")
    usual = [scale * rng.standard_normal(100_000).astype("float32") for scale in (1, 30)]
    return np.concatenate([everywhere, *usual, 1 + np.float32(1e-3) * usual[0], np.array(LIMITS, "float32")])


@pytest.fixture(scope="module")
def compiled():
    """All of them in one pass, which takes the number of one: a single C module."""
    x, number = tt.fvector("x"), tt.iscalar("number")
    chosen = x
    for i, (theirs, _, _) in enumerate(FUNCTIONS.values()):
        chosen = tt.switch(tt.eq(number, i), theirs(x), chosen)
    function = theano.function([x, number], chosen)
    (node,) = [node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, VectorElemwise)]
    ops = {type(inner.op) for inner in node.op.scalar_op.fgraph.apply_nodes}
    assert ops.issuperset(elementary.INLINED.values())
    return lambda values: {name: function(values, i) for i, name in enumerate(FUNCTIONS)}


def test_errors_and_limits(arguments, compiled):
    results = compiled(arguments)
    with np.errstate(all="ignore"):
        for name, (_, exact, units) in FUNCTIONS.items():
            expected = exact(arguments.astype("float64"))
            rounded = expected.astype("float32")
            ordinary = np.isfinite(rounded) & (rounded != 0)
            error = np.abs(results[name][ordinary] - expected[ordinary]) / np.spacing(np.abs(rounded[ordinary]))
            assert error.max() <= units, f"{name}({arguments[ordinary][error.argmax()]!r}) is off by {error.max()}"
            np.testing.assert_array_equal(results[name][~ordinary], rounded[~ordinary], err_msg=name)


def test_denormal_results_survive(compiled):
    x = np.array([-100], "float32")
    for name, value in compiled(x).items():
        if name in ("exp", "sigmoid", "softplus"):
            assert 0 < value[0] < 1e-43, name


def test_a_value_does_not_depend_on_its_place(arguments, compiled):
    whole = compiled(arguments)
    for start in (1, 3, 17):
        shifted = np.empty(len(arguments) + start, "float32")[start:]  # other alignment, other neighbours
        shifted[:] = arguments
        for part in (slice(start, None), slice(start, start + 5)):
            for name, values in compiled(shifted[part]).items():
                np.testing.assert_array_equal(values, whole[name][part], err_msg=name)


def test_other_types_and_functions_stay():
    assert elementary.inlined(scalar.exp, ["float64"]) is None
    assert elementary.inlined(scalar.sin, ["float32"]) is None
    x = scalar.float32("x")
    fused = scalar.Composite([x], [scalar.sin(x) + x])
    assert elementary.with_inlined(fused, ["float32"]) is None
