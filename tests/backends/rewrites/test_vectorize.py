"""Element-wise passes with scalars of the graph: same values, whatever lies in memory how."""

import numpy as np
import theano
import theano.tensor as tt

from fastvae.backends.rewrites.vectorize import VectorComposite


def has_vector_composite(function):
    ops = [node.op for node in function.maker.fgraph.apply_nodes if isinstance(node.op, tt.Elemwise)]
    return any(isinstance(op.scalar_op, VectorComposite) for op in ops)


def test_values_contiguous_strided_and_in_place(stock, rng, close):
    x, y, scale = tt.fmatrix("x"), tt.fmatrix("y"), tt.fscalar("scale")
    result = (x - y) / scale * y * (np.float32(1) - y)
    function = theano.function([x, theano.In(y, mutable=True), scale], result)
    expected = theano.function([x, y, scale], result, mode=stock)
    assert has_vector_composite(function)
    a, b = (rng.randn(7, 12).astype("float32") for _ in range(2))
    for left, right in ((a, b), (a[:, ::2], b[:, ::2]), (a.T, b.T), (a.T, b.reshape(12, 7))):
        close(function(left, right.copy("K"), np.float32(3)), expected(left, right, np.float32(3)))


def test_what_needs_it_not_stays(rng):
    x, row = tt.fmatrix("x"), tt.frow("row")
    for result in (tt.exp(x) * np.float32(2) + x, tt.exp(x) * row + x):
        assert not has_vector_composite(theano.function([x, row], result, on_unused_input="ignore"))
