"""Spellings of activations: what is recognised, with stock's values and gradients, and what is not."""

import numpy as np
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae import nn
from fastvae.backends.abstract.activations import (
    Activation,
    Clip,
    Elu,
    Gelu,
    GeluTanh,
    LeakyRelu,
    ParametricRelu,
    SignedRelu,
    Swish,
)
from fastvae.backends.rewrites.recognise import recognise
from fastvae.elbo.merge import merge_equal_nodes

PYTHON = theano.Mode("py", None)
ROOT = np.float32(np.sqrt(2 / np.pi))
VALUES = np.float32([0, -0.0, np.nan, np.inf, -np.inf, 1, -1, 2, 0.3, -0.3, 1e-3, -1e-3, -1e30, 1e30, 80, -80, 6])


def keras_relu(x, alpha):
    return tt.nnet.relu(x) - alpha * tt.nnet.relu(-x)


SPELLED = {
    "tt.nnet.relu(x)": (SignedRelu, lambda x, _: tt.nnet.relu(x)),
    "(x + abs(x)) / 2": (SignedRelu, lambda x, _: (x + abs(x)) / 2.0),
    "maximum(x, 0)": (SignedRelu, lambda x, _: tt.maximum(x, 0)),
    "maximum(x, zeros_like(x))": (SignedRelu, lambda x, _: tt.maximum(x, tt.zeros_like(x))),
    "maximum(0, x)": (SignedRelu, lambda x, _: tt.maximum(0, x)),
    "tt.nnet.relu(x, 0.1)": (LeakyRelu, lambda x, _: tt.nnet.relu(x, 0.1)),
    "0.6 x + 0.4 abs(x)": (LeakyRelu, lambda x, _: 0.6 * x + 0.4 * abs(x)),
    "Keras's LeakyReLU": (LeakyRelu, lambda x, _: keras_relu(x, np.float32(0.3))),
    "switch(x > 0, x, 0.1 x)": (LeakyRelu, lambda x, _: tt.switch(x > 0, x, 0.1 * x)),
    "switch(x >= 0, x, x / 10)": (LeakyRelu, lambda x, _: tt.switch(x >= 0, x, x / 10)),
    "switch(x < 0, 0.1 x, x)": (LeakyRelu, lambda x, _: tt.switch(x < 0, x * 0.1, x)),
    "switch(0 >= x, 0.1 x, x)": (LeakyRelu, lambda x, _: tt.switch(tt.ge(0, x), x * 0.1, x)),
    "maximum(x, 0.1 x)": (LeakyRelu, lambda x, _: tt.maximum(x, 0.1 * x)),
    "maximum(0.1 x, x)": (LeakyRelu, lambda x, _: tt.maximum(0.1 * x, x)),
    "tt.nnet.relu(x, alpha)": (ParametricRelu, lambda x, alpha: tt.nnet.relu(x, alpha)),
    "tt.nnet.relu(x, scalar)": (ParametricRelu, lambda x, alpha: tt.nnet.relu(x, alpha[0, 0])),
    "switch(x > 0, x, alpha x)": (ParametricRelu, lambda x, alpha: tt.switch(x > 0, x, alpha * x)),
    "Keras's PReLU": (ParametricRelu, lambda x, alpha: tt.nnet.relu(x) + alpha * (x - abs(x)) * 0.5),
    "relu(x) - alpha relu(-x)": (ParametricRelu, keras_relu),
    "tt.nnet.elu(x)": (Elu, lambda x, _: tt.nnet.elu(x)),
    "tt.nnet.elu(x, 0.5)": (Elu, lambda x, _: tt.nnet.elu(x, 0.5)),
    "switch(x > 0, x, 0.5 (exp(x) - 1))": (Elu, lambda x, _: tt.switch(x > 0, x, 0.5 * (tt.exp(x) - 1))),
    "switch(x < 0, exp(x) - 1, x)": (Elu, lambda x, _: tt.switch(x < 0, tt.exp(x) - 1, x)),
    "tt.nnet.selu(x)": (Elu, lambda x, _: tt.nnet.selu(x)),
    "Lasagne's SELU": (Elu, lambda x, _: 1.05 * tt.switch(x > 0.0, x, 1.67 * tt.expm1(x))),
    "x (1 + erf(x / sqrt(2))) / 2": (Gelu, lambda x, _: 0.5 * x * (1 + tt.erf(x / tt.sqrt(2.0)))),
    "x (0.5 + 0.5 erf(0.7071 x))": (Gelu, lambda x, _: x * (0.5 + 0.5 * tt.erf(x * np.float32(0.70710678)))),
    "GELU by tanh": (GeluTanh, lambda x, _: 0.5 * x * (1 + tt.tanh(ROOT * (x + 0.044715 * x**3)))),
    "GELU by tanh, x out": (GeluTanh, lambda x, _: 0.5 * x * (1 + tt.tanh(ROOT * x * (1 + 0.044715 * x * x)))),
    "x sigmoid(x)": (Swish, lambda x, _: x * tt.nnet.sigmoid(x)),
    "sigmoid(1.702 x) x": (Swish, lambda x, _: tt.nnet.sigmoid(1.702 * x) * x),
    "x / (1 + exp(-x))": (Swish, lambda x, _: x / (1 + tt.exp(-x))),
    "x (1 / (1 + exp(-2 x)))": (Swish, lambda x, _: x * (1 / (1 + tt.exp(-2 * x)))),
    "clip(x, -1, 2)": (Clip, lambda x, _: tt.clip(x, -1, 2)),
    "minimum(maximum(x, 0), 6)": (Clip, lambda x, _: tt.minimum(tt.maximum(x, 0), 6)),
}


def recognised(*expressions):
    return recognise(merge_equal_nodes(list(expressions)))[0]


@pytest.mark.parametrize("product", [False, True], ids=["of an input", "of a product"])
@pytest.mark.parametrize("name", sorted(SPELLED))
def test_recognised_with_stocks_values_and_gradients(name, product):
    kind, spell = SPELLED[name]
    v, alpha = tt.fmatrix("v"), theano.shared(np.float32([[0.25], [0.5]]), broadcastable=(False, True))
    x = v * theano.shared(np.float32(1)) if product else v
    y = spell(x, alpha)
    (new,) = recognised(y)
    assert isinstance(new.owner.op.scalar_op, kind) and new.type == y.type and (new.owner.inputs[0] is v) != product
    wrt = [v, alpha] if kind is ParametricRelu else [v]
    values = np.stack([VALUES, VALUES])
    with np.errstate(all="ignore"):
        stock, ours = (
            theano.function([v], [out, *theano.grad((3 * out).sum(), wrt)], mode=PYTHON)(values) for out in (y, new)
        )
    # In a sum that stock takes infinities, or 0 and infinity, may meet, which the function itself knows nothing of.
    exact = ~np.isnan(stock[0]) | np.isnan(values)
    np.testing.assert_allclose(ours[0][exact], stock[0][exact], rtol=2e-6, atol=1e-7)
    exact = ~np.isnan(stock[1]) | np.isnan(values)
    exact &= np.isfinite(values) | np.isnan(values)
    np.testing.assert_allclose(ours[1][exact], stock[1][exact], rtol=2e-6, atol=2e-6)


def test_gradients_of_trained_slopes():
    x, alpha = tt.fmatrix("x"), theano.shared(np.float32([[0.25], [0.5]]), broadcastable=(False, True))
    for name, (kind, spell) in SPELLED.items():
        if kind is ParametricRelu:
            y = spell(x, alpha)
            values = np.random.RandomState(0).randn(2, 5).astype("float32")
            one, other = (
                theano.function([x], theano.grad(tt.sqr(out).sum(), alpha), mode=PYTHON)(values)
                for out in (y, *recognised(y))
            )
            np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=name)


NOT = {
    "another variable": lambda x, z: 0.6 * x + 0.4 * abs(z),
    "slopes that do not add up": lambda x, z: 0.6 * x + 0.5 * abs(x),
    "a slope below 0": lambda x, z: tt.nnet.relu(x, -0.5),
    "a switch at 1": lambda x, z: tt.switch(x > 1, x, 0.1 * x),
    "a switch on another variable": lambda x, z: tt.switch(z > 0, x, 0.1 * x),
    "the larger slope": lambda x, z: tt.maximum(x, 2 * x),
    "another constant than 1": lambda x, z: tt.switch(x > 0, x, tt.exp(x) - 0.9),
    "an ELU that jumps": lambda x, z: tt.switch(x > 0, x, tt.exp(x)),
    "an ELU turned down": lambda x, z: tt.switch(x > 0, x, -0.5 * tt.expm1(x)),
    "another gate": lambda x, z: z * tt.nnet.sigmoid(x),
    "erf at another scale": lambda x, z: 0.5 * x * (1 + tt.erf(x)),
    "another cubic": lambda x, z: 0.5 * x * (1 + tt.tanh(ROOT * (x + 0.05 * x**3))),
    "a Normal distribution function": lambda x, z: 0.5 * (1 + tt.erf(x / tt.sqrt(2.0))),
    "bounds that are no numbers": lambda x, z: tt.clip(x, z, 2),
    "the other order": lambda x, z: tt.minimum(6, tt.maximum(0.5, x)),
}


@pytest.mark.parametrize("name", sorted(NOT))
def test_not_recognised(name):
    x, z = tt.fvectors("xz")
    y = NOT[name](x, z)
    assert recognise([y]) == ([y], {})


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_other_types_stay(dtype):
    x = tt.matrix("x", dtype=dtype)
    for _, spell in SPELLED.values():
        y = spell(x, tt.constant(np.asarray([[2]], dtype)))
        if y.dtype != "float32":
            assert recognise([y]) == ([y], {})


def test_the_seed_models_losses_stay_as_they_are():
    for vae in (fastvae.ConvVAE((1, 28, 28), filters=4, seed=0), fastvae.MLPVAE((1, 4, 4), hidden=8, seed=0)):
        mean, rho = vae.encode(tt.tensor4("x", dtype="float32"))
        z = mean + tt.nnet.softplus(rho)
        assert recognise([vae.decode(z)])[1] == {}


def test_layers_have_them_without_being_recognised():
    x = tt.fmatrix("x")
    for name, function in nn.ACTIVATIONS.items():
        y = function(x)
        assert recognise([y]) == ([y], {}), name
    assert isinstance(nn.elu(x).owner.op.scalar_op, Activation)
