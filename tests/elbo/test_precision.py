import logging

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae.elbo import precision
from fastvae.errors import ConfigurationError

X = np.random.default_rng(0).random((12, 3)).astype("float32")


def shared(name, shape, dtype="float32"):
    return theano.shared(np.full(shape, 0.1, dtype), name=name)


@pytest.mark.parametrize(
    "expression, found",
    [
        (lambda: tt.exp(shared("w", 2)), []),
        (lambda: tt.fvector("x") * 2.5, []),
        (lambda: tt.fvector("x") * tt.wvector("few"), []),
        (lambda: tt.fvector("x") + shared("w", 2, "float64"), ["the shared variable 'w'"]),
        (lambda: tt.dvector("x") + shared("w", 2), ["the input 'x'"]),
        (lambda: tt.fvector("x") * np.ones(3), ["a constant float64 (3,)"]),
        (lambda: tt.fvector("x") * tt.ivector("n"), ["'n', whose int32 meets float32"]),
        (lambda: shared(None, 2, "float64"), ["the shared variable of shape (2,)"]),
    ],
)
def test_what_makes_an_expression_float64(expression, found):
    assert precision.sources([expression()]) == found


def fit(encoder="float32", decoder="float32", conv=None):
    into, out = shared("into", (3, 4), encoder), shared("out", (2, 3), decoder)
    params, xs = [into, out], tt.fmatrix("xs")
    with pm.Model():
        z = pm.Normal("z", 0, 1, shape=(4, 2), total_size=12)
        mean = tt.dot(z, out)
        if conv:
            params.append(shared("kernel", (1, 1, 1, 1), conv))
            mean = tt.nnet.conv2d(mean.reshape((4, 1, 3, 1)), params[-1]).reshape((4, 3))
        pm.Normal("x", mean, 1, observed=xs, total_size=12)
        latent = tt.dot(xs, into)
        return fastvae.fit(
            2,
            local_rv={z: (latent[:, :2], latent[:, 2:])},
            more_obj_params=params,
            progressbar=False,
            more_replacements={xs: fastvae.Minibatch(X, 4)},
            obj_optimizer=pm.adam(),
        )


def test_a_float64_encoder_is_refused_and_named():
    with pytest.raises(ConfigurationError, match=r"mu of z is float64 because of the shared variable 'into': .*astype"):
        fit(encoder="float64")


def test_a_float64_decoder_is_said(caplog):
    with caplog.at_level(logging.WARNING, "fastvae"):
        approx = fit(decoder="float64")
    assert np.isfinite(approx.hist).all() and "float64 because of the shared variable 'out'" in caplog.text


def test_theanos_type_error_becomes_a_line_that_names_the_weight():
    with pytest.raises(ConfigurationError, match="mixes float32 and float64, .* the shared variable 'kernel'"):
        fit(conv="float64")


def test_a_float32_model_is_said_nothing_of(caplog):
    with caplog.at_level(logging.WARNING, "fastvae"):
        fit(conv="float32")
    assert not caplog.text
