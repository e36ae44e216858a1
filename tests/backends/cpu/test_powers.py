"""Powers with a constant exponent call no pow, however the exponent reaches the graph, and are those of float64."""

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.gof.opt import in2out

from fastvae.backends.cpu.powers import product
from tests.backends.cpu import fast_path

EXPONENTS = [0, 1, 2, 3, 5, 8, -1, -2, -3, 0.5, -0.5, 1.5, 2.5]


def late(variable):
    """The variable by way of an Op that only a late rewrite removes, so that no rewrite of powers sees a constant."""
    return Late()(variable)


class Late(theano.gof.Op):
    __props__ = ()
    view_map = {0: [0]}

    def make_node(self, x):
        return theano.gof.Apply(self, [x], [x.type()])


@theano.gof.local_optimizer([Late])
def local_remove(node):
    return [node.inputs[0]] if isinstance(node.op, Late) else False


@pytest.fixture(scope="module")
def mode():
    mode = theano.compile.mode.get_default_mode()
    return mode.register((in2out(local_remove, name="remove_late"), 48.9))


def spellings(exponent):
    """The ways in which an exponent may reach the graph."""
    yield tt.constant(np.float32(exponent))
    yield tt.constant(np.full((1, 1), exponent, "float32"))
    yield tt.constant(np.full((3, 4), exponent, "float32"))
    if exponent == int(exponent):
        yield tt.constant(np.int8(exponent)).dimshuffle("x", "x")
        yield tt.cast(tt.constant(np.full(1, exponent, "int64")), "float32").dimshuffle("x", 0)
        yield tt.cast(late(tt.constant(np.int8(exponent))), "float32")


@pytest.mark.parametrize("inside", [False, True])
def test_no_spelling_calls_pow(mode, inside, close):
    x = tt.fmatrix("x")
    exponents = [late(spelled) for spelled in spellings(2)]
    results = [tt.exp((x - 1) ** e) * 2 if inside else x**e for e in exponents]
    function = theano.function([x], results, mode=mode)
    assert not fast_path.powers(function) and not fast_path.float64(function)
    value = np.linspace(-2, 2, 12, dtype="float32").reshape(3, 4)
    for result in function(value):
        close(result, np.exp((value.astype("float64") - 1) ** 2) * 2 if inside else value.astype("float64") ** 2, 1e-6)


def test_values_of_all_exponents(mode):
    x, number = tt.fvector("x"), tt.iscalar("number")
    chosen = x
    for i, exponent in enumerate(EXPONENTS):  # one pass, a single C module
        chosen = tt.switch(tt.eq(number, i), x ** late(tt.constant(np.float32(exponent))), chosen)
    function = theano.function([x, number], chosen, mode=mode)
    assert not fast_path.powers(function)
    value = np.array([0.01, 0.3, 1, 1.7, 40, np.inf, np.nan, 0], "float32")
    with np.errstate(all="ignore"):
        for i, exponent in enumerate(EXPONENTS):
            exact = value.astype("float64") ** exponent
            np.testing.assert_allclose(function(value, i), exact, rtol=1e-6, err_msg=str(exponent))


def test_other_powers_stay():
    assert product(theano.scalar.float32(), 2.2) is None and product(theano.scalar.float32(), 99) is None
    x, power = tt.fmatrix("x"), tt.fscalar("power")
    function = theano.function([x, power], x**power, mode=theano.Mode("py", "fast_run"))
    assert fast_path.powers(function)


def test_stock_batch_normalisation_calls_no_pow():
    x, gamma, beta = tt.ftensor4("x"), tt.fvector("gamma"), tt.fvector("beta")
    y = tt.nnet.bn.batch_normalization_train(x, gamma, beta, axes="spatial")[0]
    function = theano.function(
        [x, gamma, beta], theano.grad(tt.sum(tt.sqr(y)), [x, gamma]), mode=theano.Mode("py", "fast_run")
    )
    assert not fast_path.powers(function)
