"""Modules with less code check and compute as those that theano writes."""

import ctypes

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.gof import CLinker, FunctionGraph

from fastvae.compilation import together


def linker(output):
    node = output.owner
    return CLinker().accept(FunctionGraph(node.inputs, node.outputs, clone=True), no_recycling=[])


@pytest.fixture(scope="module")
def negated():
    """A compiled negation, as its node's input and output cells and its thunk."""
    x = tt.fmatrix()
    thunk, inputs, outputs = linker(-x).make_thunk()
    return inputs[0].storage, outputs[0].storage, thunk


def unaligned():
    memory = ctypes.create_string_buffer(25)
    return np.frombuffer(memory, "uint8")[1:].view("float32").reshape(2, 3)


@pytest.mark.parametrize(
    "value, error, said",
    [
        (None, ValueError, "expected an ndarray, not None"),
        (3, ValueError, "expected an ndarray"),
        (np.zeros((2, 3)), TypeError, "expected type_num 11 (NPY_FLOAT32) got 12"),
        (
            unaligned(),
            NotImplementedError,
            "expected an aligned array of type 11 (NPY_FLOAT32), got non-aligned array of type 11 with 2 dimensions, "
            "with 3 last dims -1, 2, 3 and 3 last strides -1 12, 4.",
        ),
    ],
)
def test_what_is_no_array_of_the_type_is_refused_in_theanos_words(negated, value, error, said):
    inputs, _, thunk = negated
    inputs[0] = value
    with pytest.raises(error) as raised:
        thunk()
    assert str(raised.value).startswith(said)


def test_an_array_is_taken_and_given(negated):
    inputs, outputs, thunk = negated
    inputs[0] = np.arange(6, dtype="float32").reshape(2, 3)
    for _ in range(2):  # the second time there is a result already
        thunk()
        np.testing.assert_array_equal(outputs[0], -inputs[0])


def test_only_what_computes_no_floats_is_hardly_optimised():
    x, n, f = tt.fmatrix(), tt.lscalar(), tt.fscalar()
    glue = [x.T, n + 1, x.reshape((n, n)), x[n]]
    assert [linker(v).compile_args()[0] for v in glue] == ["-O1"] * 4
    computing = [x + 1, f * 2, tt.cast(n, "float32"), tt.true_div(n, 2), tt.lvector() + 1]
    assert [linker(v).compile_args()[0] for v in computing] == ["-O3"] * 5


def test_an_op_that_fails_without_a_reason_says_so():
    class Failing(tt.Elemwise):
        def c_code(self, node, name, inputs, outputs, sub):
            return sub["fail"]

        def c_code_cache_version_apply(self, node):
            return ()

    x = tt.fvector()
    f = theano.function([x], Failing(theano.scalar.sqr)(x), mode=theano.Mode("c|py", None))
    with pytest.raises(RuntimeError, match="No Python exception was set"):
        f(np.zeros(2, "float32"))


def test_what_all_modules_begin_with_is_compiled_once():
    x = tt.fvector()
    sources = {str(axes): linker(x.dimshuffle(axes) + 1).get_src_code() for axes in [(0, "x"), ("x", 0)]}
    assert together.source(sources).count("PyArrayObject *fv_taken(") == 1
