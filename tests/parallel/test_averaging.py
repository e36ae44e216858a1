"""The Op within a graph, on ranks of which the others' arrays are known."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.elbo import step_updates
from fastvae.errors import ConfigurationError
from fastvae.parallel import ALONE, Ranks
from fastvae.parallel.averaging import AverageOverRanks, average


class Doubled(Ranks):
    """Two ranks, of which the other has three times what this one has."""

    size = 2

    def average(self, values, out):
        for value, target in zip(values, out):
            target[...] = 2 * value


def node_of(function):
    (node,) = [node for node in function.maker.fgraph.toposort() if isinstance(node.op, AverageOverRanks)]
    return node


def test_one_rank_inserts_nothing():
    x = tt.vector()
    assert average(ALONE, [x]) == [x]


@pytest.mark.parametrize("mode", ["FAST_RUN", "FAST_COMPILE"])
def test_means_of_any_layout_leave_what_others_need_as_it_is(mode):
    x, y = tt.matrix(dtype="float32"), tt.matrix(dtype="float32")
    product = tt.dot(x, y)
    means = average(Doubled(), [product.sum(), product.T, x[::2], y])
    f = theano.function([x, y], [*means, product, y + 0], mode=mode)
    values = np.arange(6, dtype="float32").reshape(2, 3), np.arange(12, dtype="float32").reshape(3, 4)
    for _ in range(2):
        total, transposed, rows, same, kept, y_kept = f(*values)
        expected = values[0] @ values[1]
        np.testing.assert_array_equal(total, 2 * expected.sum())
        np.testing.assert_array_equal(transposed, 2 * expected.T)
        np.testing.assert_array_equal(rows, 2 * values[0][::2])
        np.testing.assert_array_equal(same, 2 * values[1])
        np.testing.assert_array_equal(kept, expected)
        np.testing.assert_array_equal(y_kept, values[1])


def test_gradients_that_nobody_else_needs_are_overwritten():
    w = theano.shared(np.ones((3, 4), "float32"))
    x = tt.matrix(dtype="float32")
    loss = tt.sum(tt.tanh(tt.dot(x, w)))
    mean, gradient = average(Doubled(), [loss, tt.grad(loss, w)])
    f = theano.function([x], mean, updates=[(w, w - gradient)])
    assert node_of(f).op.in_place == (0, 1)
    values = np.ones((2, 3), "float32")
    f(values)
    expected = 1 - 2 * (values.T @ (1 - np.tanh(values @ np.ones((3, 4))) ** 2))
    np.testing.assert_allclose(w.get_value(), expected, rtol=1e-5)


def test_a_step_takes_ranks_and_nothing_else():
    with pytest.raises(ConfigurationError, match="ranks=4 must be what fastvae.parallel.join returns"):
        step_updates(None, ranks=4)
