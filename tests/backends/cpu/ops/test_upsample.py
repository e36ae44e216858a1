"""Upsampling and its gradient on the CPU: against numpy, in every memory layout, and between convolutions."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends import abstract
from fastvae.backends.abstract import upsample
from fastvae.backends.cpu.ops.layout import Layout
from fastvae.backends.cpu.ops.upsample import BlockSum, Upsample
from tests.backends.cpu.ops.running import LAYOUTS, compiled, drawn


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("shape", [(2, 6, 4, 1), (3, 42, 30, 16), (0, 6, 4, 2)])
def test_values(shape, layout, rng, close):
    x = rng.standard_normal(shape).astype("float32")
    (larger,) = compiled(Upsample(upsample.Upsample((3, 2))), LAYOUTS[layout](x))
    np.testing.assert_array_equal(larger, x.repeat(3, axis=1).repeat(2, axis=2))
    (smaller,) = compiled(BlockSum(upsample.BlockSum((3, 2))), LAYOUTS[layout](x))
    n, h, w, c = shape
    close(smaller, x.astype("float64").reshape(n, h // 3, 3, w // 2, 2, c).sum((2, 4)), 1e-6)


def test_blocks_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="BlockSum: images of 5 x 4 pixels do not consist of blocks of 2 x 2"):
        compiled(BlockSum(upsample.BlockSum((2, 2))), np.zeros((1, 5, 4, 1), "float32"))


def test_between_convolutions_no_layout_changes_and_the_gradient_is_stocks(stock, close):
    rng = np.random.default_rng(0)
    x, first, second = drawn(rng, 2, 3, 5, 5), drawn(rng, 4, 3, 3, 3), drawn(rng, 2, 4, 3, 3)
    first, second = theano.shared(first), theano.shared(second)
    y = abstract.conv2d(upsample.Upsample((2, 2))(abstract.conv2d(tt.constant(x), first)), second)
    outputs = [y, *theano.grad(tt.sum(y**2), [first, second])]
    function = theano.function([], outputs)
    nodes, (last, *_) = function.maker.fgraph.apply_nodes, function.maker.fgraph.outputs
    assert [sum(isinstance(node.op, cls) for node in nodes) for cls in (Upsample, BlockSum)] == [1, 1]
    computed = [node for node in nodes if isinstance(node.op, Layout) and node.inputs[0].owner is not None]
    assert computed == [last.owner]  # what the function returns is NCHW, and nothing within it
    for value, expected in zip(function(), theano.function([], outputs, mode=stock)()):
        close(value, expected)


def test_a_graph_that_spells_it_out_and_its_gradient(stock, close):
    x = tt.tensor4("x", dtype="float32")
    y = tt.repeat(tt.repeat(x, 2, axis=2), 3, axis=3)
    outputs = [y, tt.grad(tt.sum(y**3), x)]
    ours, stocks = (theano.function([x], outputs, mode=mode) for mode in (None, stock))
    ops = [type(node.op) for node in ours.maker.fgraph.apply_nodes]
    assert Upsample in ops and BlockSum in ops and tt.Alloc not in ops
    for value, expected in zip(*(function(drawn(np.random.default_rng(0), 2, 3, 4, 5)) for function in (ours, stocks))):
        close(value, expected)
