import functools

import h5py
import numpy as np
import pymc3 as pm
import pytest
import scipy.sparse
import theano
import theano.tensor as tt
from theano.sandbox.rng_mrg import MRG_RandomStreams

import fastvae  # before pymc3, also where the other process imports this file
from fastvae.checkpoint.description import describe, graph_digest


def test_plain_values_are_themselves(tmp_path):
    values = {"a": None, "b": True, "c": 3, "d": 0.5, "e": "text", "f": [1, (2, 3)]}
    assert describe(values) == {**values, "f": [1, [2, 3]]}
    assert describe([np.float32(0.5), np.int64(7), np.bool_(False), tmp_path]) == [0.5, 7, False, str(tmp_path)]
    assert describe({3, 1, 2}) == describe({2, 1, 3}) == [1, 2, 3]


@pytest.mark.parametrize("size", [5, 2**23], ids=["whole", "in parts"])
def test_arrays_by_their_values_whatever_their_layout(size):
    array = np.arange(2 * size, dtype="float32").reshape(size, 2)
    same = np.asfortranarray(array)
    assert describe(array) == describe(same) == describe(np.repeat(array, 2, axis=1)[:, ::2])
    for place in (0, -1):
        other = array.copy()
        other[place, 1] += 1
        assert describe(other) != describe(array)
    assert describe(array) != describe(array.astype("float64")) and describe(array) != describe(array.ravel())


def test_rows_on_disk_and_what_numpy_makes_an_array_of(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (30, 4, 4)).astype("uint8")
    np.save(tmp_path / "a.npy", images)
    images[29, 0, 0] += 1
    np.save(tmp_path / "b.npy", images)
    a, b = (describe(fastvae.on_disk(tmp_path / name)) for name in ("a.npy", "b.npy"))
    assert a == describe(fastvae.on_disk(tmp_path / "a.npy")) != b

    class Table:
        def __array__(self, dtype=None):
            return np.arange(3.0)

    assert describe(Table()) == describe(np.arange(3.0))


def outer(rate, power=2):
    def inner(x):
        return [rate * x**power for _ in range(3)]

    return inner


def test_functions_by_what_they_do():
    assert describe(outer(1)) == describe(outer(1))
    different = [outer(1), outer(2), outer(1, 3), lambda x: x + 1, lambda x: x + 2, lambda x, y=1: x + 1]
    different += [functools.partial(outer, 1), functools.partial(outer, 2), pm.adam, pm.sgd]
    different += [pm.adam(learning_rate=0.1), pm.adam(learning_rate=0.2), "text".upper, print]
    described = [repr(describe(function)) for function in different]
    assert len(set(described)) == len(described)


def recursive(n):
    def count(k):
        return count(k - 1) if k else n

    return count


def test_a_function_that_closes_over_itself():
    assert describe(recursive(1)) == describe(recursive(1)) != describe(recursive(2))


def graph(weight=1.0, constant=2.0, op=tt.tanh, data=0):
    weights = theano.shared(np.full((3, 2), weight, "float32"), name="w")
    rows = fastvae.Minibatch(np.arange(30, dtype="float32").reshape(10, 3) + data, 4, seed=1)
    noise = MRG_RandomStreams(5).normal((4, 2), dtype="float32")
    return op(tt.dot(rows, weights)) * constant + noise


def test_graphs_by_their_ops_constants_and_data_and_not_by_what_is_trained():
    digest = graph_digest([graph()])
    assert digest == graph_digest([graph()]) == graph_digest([graph(weight=7.0)])
    changed = (dict(constant=3.0), dict(op=tt.exp), dict(data=1))
    assert len({digest, *(graph_digest([graph(**options)]) for options in changed)}) == 4


def test_what_a_run_does_not_change_counts_too():
    weights = [theano.shared(np.full(2, value, "float32")) for value in (1, 2)]
    frozen = [graph_digest([tt.exp(w)], changing=()) for w in weights]
    trained = [graph_digest([tt.exp(w)], changing=[w]) for w in weights]
    assert frozen[0] != frozen[1] and trained[0] == trained[1]
    rates = [theano.shared(np.float32(value)) for value in (1, 2)]  # schedules
    assert graph_digest([rates[0]], changing=()) == graph_digest([rates[1]], changing=())


def test_scans_by_what_is_inside():
    def loop(factor):
        return theano.scan(lambda x: x * np.float32(factor), outputs_info=[tt.fscalar("start")], n_steps=3)[0]

    assert graph_digest([loop(2)]) == graph_digest([loop(2)]) != graph_digest([loop(3)])


SAID = """
import sys; sys.path.insert(0, {root!r})
import fastvae
from tests.checkpoint import test_description as t
print(t.describe([t.outer(1), {{"a", "b"}}, t.pm.adam(learning_rate=0.1)]), t.graph_digest([t.graph()]))
"""


def test_descriptions_are_equal_in_another_process(python):
    from tests.conftest import ROOT

    done = python(SAID.format(root=str(ROOT)), PYTHONHASHSEED="7")
    assert done.returncode == 0, done.stderr
    here = f"{describe([outer(1), {'a', 'b'}, pm.adam(learning_rate=0.1)])} {graph_digest([graph()])}"
    assert done.stdout.split("\n")[0] == here.replace(__name__, "tests.checkpoint.test_description")


def test_what_is_no_data_is_named_by_its_class():
    assert describe(scipy.sparse.eye(3).tocsr()) == "scipy.sparse._csr.csr_matrix"
    assert describe(object()) == "builtins.object"


def test_an_hdf5_dataset_is_rows(tmp_path):
    rows = np.random.default_rng(0).random((7, 2)).astype("float32")
    described = []
    for name, values in (("a", rows), ("b", rows), ("c", rows + 1)):
        with h5py.File(tmp_path / name, "w") as file:
            described.append(describe(file.create_dataset("x", data=values)))
    assert described[0] == described[1] != described[2]
