"""What abstract Ops become where no backend takes them."""

import pytest
import theano
import theano.tensor as tt

from fastvae.backends import abstract

PYTHON = theano.Mode(linker="py", optimizer=None)  # runs `perform`
LAYERS = [
    (abstract.conv2d, (2, 4, 6, 5), (6, 2, 3, 2), 6, dict(stride=(2, 1), padding=((1, 0), (0, 2)), groups=2)),
    (abstract.conv2d, (2, 2, 6, 5), (3, 2, 2, 2), 3, dict(padding="half", dilation=2)),
    (abstract.conv_transpose2d, (2, 4, 3, 4), (4, 3, 3, 2), 6, dict(stride=(2, 3), padding=(1, 0), groups=2)),
    (abstract.conv_transpose2d, (2, 2, 3, 4), (2, 3, 2, 2), 3, dict(dilation=(2, 1))),
    (abstract.dense, (3, 4), (4, 5), 5, {}),
]


@pytest.mark.parametrize("layer, x_shape, w_shape, n_bias, options", LAYERS)
def test_becomes_stock_ops_without_a_backend(layer, x_shape, w_shape, n_bias, options, stock, rng, close):
    x, w, b = (theano.shared(rng.randn(*s).astype("float32")) for s in (x_shape, w_shape, (n_bias,)))
    y = layer(x, w, b, activation="relu", **options)
    outputs = [y, *theano.grad(tt.sum(y**2), [x, w, b])]
    compiled = theano.function([], outputs, mode=stock)
    nodes = compiled.maker.fgraph.apply_nodes
    assert nodes and not any(type(node.op).__module__.startswith("fastvae.backends") for node in nodes)
    for value, expected in zip(compiled(), theano.function([], outputs, mode=PYTHON)()):
        close(value, expected)
