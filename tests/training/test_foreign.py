"""What `pm.fit` takes, `fastvae.fit` takes: replacements of any kind, RandomStreams, the blog's own `local_rv`."""

from collections import OrderedDict

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt
from theano.tensor.shared_randomstreams import RandomStreams

import fastvae
from tests.on_devices import on_every_device

ROWS = np.random.default_rng(0).normal(3, 1, 40).astype("float32")


def model(x, noise=0):
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("x", mu + np.float32(0.1) * noise, 1, observed=x)
    return model


def losses(fit, x, replacement=None, n=6, **options):
    """Of a fit of a model of `x`, with it replaced."""
    if replacement is not None:
        options["more_replacements"] = {x: replacement}
    with model(x, options.pop("noise", 0)):
        inference = pm.ADVI(random_seed=3)
        optimizer = pm.adam(learning_rate=0.1)
        return fit(n, method=inference, obj_optimizer=optimizer, progressbar=False, **options).hist


KINDS = {
    "an array": lambda: (tt.fvector("x"), ROWS),
    "a shared variable": lambda: (tt.fvector("x"), theano.shared(ROWS)),
    "a constant": lambda: (tt.fvector("x"), tt.constant(ROWS)),
    "an expression": lambda: (tt.fvector("x"), theano.shared(ROWS) * np.float32(2)),
    "a minibatch for a shared variable": lambda: (theano.shared(ROWS[:5]), pm.Minibatch(ROWS, 4)),
    "an array for a shared variable": lambda: (theano.shared(ROWS[:5]), ROWS),
    "pymc3's minibatch": lambda: (tt.fvector("x"), pm.Minibatch(ROWS, 4)),
}


@on_every_device
@pytest.mark.parametrize("kind", KINDS)
def test_replacements_follow_stock(kind):
    stock, ours = (losses(fit, *KINDS[kind]()) for fit in (pm.fit, fastvae.fit))
    np.testing.assert_allclose(ours, stock, rtol=1e-4)


def test_a_list_and_float64_rows_are_the_array():
    expected = losses(fastvae.fit, tt.fvector("x"), ROWS)
    for rows in (ROWS.tolist(), ROWS.astype("float64"), ROWS.astype(">f4")):
        assert np.array_equal(losses(fastvae.fit, tt.fvector("x"), rows), expected)


@on_every_device
def test_random_streams_follow_stock_and_are_resumed_bit_for_bit(tmp_path):
    def noise():
        return RandomStreams(3).normal((40,), dtype="float32")

    one_go = losses(fastvae.fit, ROWS, n=7, noise=noise())
    np.testing.assert_allclose(one_go, losses(pm.fit, ROWS, n=7, noise=noise()), rtol=1e-4)
    for n in (3, 7):
        resumed = losses(fastvae.fit, ROWS, n=n, noise=noise(), checkpoint=tmp_path, resume=True)
    assert np.array_equal(resumed, one_go)


def test_the_blogs_tuple_is_the_dict():
    rows = ROWS.reshape(10, 4)

    def trained(pair):
        weight, xs = theano.shared(np.full((4, 4), 0.01, "float32")), tt.fmatrix("xs")
        with pm.Model():
            zs = pm.Normal("zs", mu=0, sd=1, shape=(5, 2), total_size=10)
            pm.Normal("xs_", mu=tt.dot(zs, weight[:2]), sd=1, observed=xs, total_size=10)
            mean, rho = tt.split(tt.dot(xs, weight), [2, 2], 2, axis=1)
            return fastvae.fit(
                4,
                local_rv=OrderedDict({zs: (mean, rho) if pair else dict(mu=mean, rho=rho)}),
                random_seed=1,
                obj_optimizer=pm.adam(learning_rate=1e-4),
                more_obj_params=[weight],
                progressbar=False,
                more_replacements={xs: fastvae.Minibatch(rows, 5)},
            ).hist

    assert np.array_equal(trained(True), trained(False))
