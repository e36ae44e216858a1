"""Arrays of one value, or of a smaller array again and again, against numpy's."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.cpu.ops.fill import Fill
from tests.backends.cpu import fast_path
from tests.backends.cpu.ops.running import compiled, drawn

SHAPES = [
    ((), (3,)),
    ((), (200, 300)),
    ((1, 4), (3, 4)),
    ((5, 1), (2, 5, 3)),
    ((3,), (40, 30, 50, 3)),
    ((2, 3), (2, 3)),
]


@pytest.mark.parametrize(("small", "shape"), [*SHAPES, ((), (3, 0)), ((0,), (2, 0)), ((2, 1, 1), (60, 2, 30, 20))])
def test_fill(small, shape, rng):
    value = drawn(np.random.default_rng(1), *small)
    lengths = [np.array(length, "int64") for length in shape]
    for given in (np.asarray(value), np.asarray(value)[::-1] if small else np.float32(0) * value):
        (y,) = compiled(Fill([False] * len(shape)), np.asarray(given), *lengths)
        np.testing.assert_array_equal(y, np.broadcast_to(given, shape))


def test_what_cannot_be():
    lengths = [np.array(length, "int64") for length in (2, 3)]
    with pytest.raises(ValueError, match="cannot be broadcast to 3"):
        compiled(Fill([False] * 2), np.zeros((2, 2), "float32"), *lengths)
    with pytest.raises(ValueError, match="give 0 or more"):
        compiled(Fill([False] * 2), np.zeros((), "float32"), np.array(-1), lengths[0])


def test_ones_of_a_graph_and_their_increment_in_place(stock):
    x, n = tt.fmatrix("x"), tt.lscalar("n")
    y = tt.inc_subtensor(tt.ones((n, x.shape[1]), "float32")[1:3], x)
    function = theano.function([x, n], [y.sum(0), tt.alloc(x[0], n, x.shape[1])])
    assert sum(isinstance(node.op, Fill) for node in function.maker.fgraph.apply_nodes) == 2
    value = drawn(np.random.default_rng(1), 2, 5)
    for _ in range(2):  # the second call starts from ones too
        sums, rows = function(value, 4)
        np.testing.assert_allclose(sums, 4 + value.sum(0), rtol=1e-6)
        np.testing.assert_array_equal(rows, np.tile(value[0], (4, 1)))


def test_the_gradient_of_a_mean_is_broadcast_within_the_pass():
    x = tt.ftensor4("x")
    loss = tt.sum(tt.sqr(x.mean((2, 3)))) + tt.sum(tt.sqr(x))
    function = theano.function([x], tt.sum(tt.sqr(theano.grad(loss, x))), mode=theano.Mode("py", "fast_run"))
    assert not [n for n in function.maker.fgraph.apply_nodes if isinstance(n.op, (Fill, tt.Alloc))]
    assert not fast_path.single_threaded(function)
