"""The seed model's step: what is in its graph, and what the library itself says it executed."""

import os
import pathlib
import re

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.backends.cpu.ops.adam import Adam
from fastvae.backends.cpu.ops.adam_of_product import AdamOfProduct
from fastvae.backends.cpu.ops.convolution import Convolution
from fastvae.backends.cpu.ops.layout import Layout
from fastvae.backends.cpu.ops.matmul import Gemm, MatMul
from fastvae.backends.cpu.ops.relu_gradient import ReluGradient

HAS_AVX2 = "avx2" in pathlib.Path("/proc/cpuinfo").read_text()
SEED_STEP = """
import fastvae, numpy as np, theano, theano.tensor as tt
from theano.sandbox.rng_mrg import MRG_RandomStreams
from fastvae.backends import abstract, cpu
from fastvae.nn.activations import relu
cpu.register(fastvae.profiles.active())

def seed_step(n, mode=None):
    rng, parameters = np.random.RandomState(0), []

    def parameter(*shape):
        fan_in = shape[0] if len(shape) == 2 else np.prod(shape[1:])
        value = rng.randn(*shape) / np.sqrt(fan_in) if len(shape) > 1 else np.zeros(shape)
        parameters.append(theano.shared(value.astype("float32")))
        return parameters[-1]

    def layer(op, x, shape, n_out, last=False):
        y = op(x, parameter(*shape), parameter(n_out))
        return y if last else relu(y)

    x = theano.shared(rng.rand(n, 1, 28, 28).astype("float32"))
    h = layer(abstract.conv2d, x, (64, 1, 3, 3), 64)
    h = layer(abstract.conv2d, h, (64, 64, 1, 1), 64)
    h = layer(abstract.conv2d, h, (64, 64, 3, 3), 64)
    h = layer(abstract.dense, h.reshape((n, 36864)), (36864, 128), 128)
    h = layer(abstract.dense, h, (128, 4), 4, last=True)
    mean, sd = h[:, :2], tt.nnet.softplus(h[:, 2:])
    z = mean + sd * MRG_RandomStreams(1).normal((n, 2), dtype="float32")
    h = layer(abstract.dense, z, (2, 128), 128)
    h = layer(abstract.dense, h, (128, 36864), 36864).reshape((n, 64, 24, 24))
    h = layer(abstract.conv_transpose2d, h, (64, 64, 3, 3), 64)
    h = layer(abstract.conv_transpose2d, h, (64, 64, 1, 1), 64)
    h = layer(abstract.conv_transpose2d, h, (64, 1, 3, 3), 1, last=True)
    loss = tt.sum(tt.sqr(x - tt.nnet.sigmoid(h)) * np.float32(50))
    loss += tt.sum(mean**2 + sd**2 - 2 * tt.log(sd)) * np.float32(0.5)
    return theano.function([], loss, updates=fastvae.adam(loss, parameters, learning_rate=1e-4), mode=mode), parameters
"""


@pytest.fixture(scope="module")
def seed_step():
    scope = {}
    exec(SEED_STEP, scope)
    return scope["seed_step"]


@pytest.fixture(scope="module")
def nodes(seed_step):
    return seed_step(2)[0].maker.fgraph.apply_nodes


def of(nodes, kind):
    return [node for node in nodes if isinstance(node.op, kind)]


def test_seed_step_has_17_convolutions(nodes):
    directions = [node.op.direction for node in of(nodes, Convolution)]
    backward = 5  # data gradients; those of the decoder are convolutions forward, those of the encoder transposed
    assert len(directions) == 6 + 6 + backward
    assert directions.count(2) == 6


def test_seed_step_fuses_bias_and_relu(nodes):
    assert len(of(nodes, ReluGradient)) == 8 and all(node.op.inplace for node in of(nodes, ReluGradient))
    assert sum(node.op.activation == "relu" for node in of(nodes, MatMul)) == 3
    assert sum(getattr(node.op.abstract_op, "activation", None) == "relu" for node in of(nodes, Convolution)) == 5
    assert all(node.op.abstract_op.sum_of for node in of(nodes, Convolution) if node.op.direction == 2)
    assert not [n for n in of(nodes, tt.Elemwise) if "relu" in str(n.op).lower()]


def test_seed_step_changes_layout_only_at_images_and_dense_layers(nodes):
    """The image (one channel: a view), and both sides of the two reshapes, forward and backward."""
    assert len(of(nodes, Layout)) == 5
    assert not [n for n in of(nodes, tt.DimShuffle) if n.outputs[0].ndim == 4 and not all(n.outputs[0].broadcastable)]


def test_seed_step_is_small_float32_and_ours(nodes):
    assert len(nodes) <= 98
    assert not [n for n in nodes for v in n.inputs + n.outputs if getattr(v, "dtype", "") == "float64"]
    assert [node.op.n_parameters for node in of(nodes, Adam)] == [18] and len(of(nodes, AdamOfProduct)) == 2
    assert all(node.op.inplace for node in of(nodes, (Adam, AdamOfProduct)))
    assert not [
        n
        for n in nodes
        if any(word in str(n.op) for word in ("CorrMM", "Dot22", "Gemm", "Gemv", "Conv2d", "DimShuffle{1,0}"))
    ]


@pytest.mark.parametrize("winograd", [True, False])
def test_the_library_executes_17_convolutions_and_reorders_only_weights(python, winograd):
    code = SEED_STEP + "step, _ = seed_step(6)\nprint('start', flush=True)\nstep()\n"
    flags = f"{os.environ.get('THEANO_FLAGS', '')},fastvae.winograd={winograd}".strip(",")
    result = python(code, ONEDNN_VERBOSE="1", THEANO_FLAGS=flags, timeout=300)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.split("start")[1].splitlines() if ",exec,cpu," in line]
    convolutions = [line for line in lines if re.search(r",cpu,(de)?convolution,", line)]
    assert len(convolutions) == 17
    assert sum("winograd" in line for line in convolutions) == (6 if winograd and HAS_AVX2 else 0)
    weights = {"64x1x3x3", "64x64x1x1", "64x64x3x3", "1x64x3x3"}
    shapes = [line.split(",")[-2] for line in lines if ",cpu,reorder," in line]
    assert shapes and set(shapes) <= weights
    assert len(shapes) <= 17


def test_seed_step_trains_like_stock(seed_step, stock, close):
    ours, parameters = seed_step(2)
    theirs, expected = seed_step(2, stock)
    for _ in range(3):
        np.testing.assert_allclose(ours(), theirs(), rtol=1e-5)
    for value, oracle in zip(parameters, expected):
        close(value.get_value(), oracle.get_value(), 1e-3)  # Adam's first steps follow a gradient's sign, however small


def test_products_of_a_plain_graph(stock, rng, close):
    a, b, c = (theano.shared(rng.randn(*s).astype("float32")) for s in ((5, 6), (6, 7), (5, 7)))
    outputs = [tt.dot(a, b), tt.dot(b.T, a.T), 2 * tt.dot(a, b), c - np.float32(0.5) * tt.dot(a, b), tt.dot(c.T, a)]
    function = theano.function([], outputs)
    kinds = [type(n.op).__module__ for n in function.maker.fgraph.apply_nodes]
    assert "theano.tensor.blas" not in kinds and "theano.tensor.blas_c" not in kinds
    for value, expected in zip(function(), theano.function([], outputs, mode=stock)()):
        close(value, expected)


def test_gemm_in_place(rng, close):
    a, b, z = (theano.shared(rng.randn(*s).astype("float32")) for s in ((5, 6), (6, 7), (5, 7)))
    before = z.get_value()
    step = theano.function([], updates={z: z - np.float32(0.1) * tt.dot(a, b)})
    (node,) = of(step.maker.fgraph.apply_nodes, Gemm)
    assert node.op.inplace
    step()
    close(z.get_value(), before - 0.1 * a.get_value().astype("float64") @ b.get_value())
