"""A first step that fails: the message names the data, the term or the gradient, never the learning rate."""

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae.errors import NonFiniteError
from tests.on_devices import on_every_device

ROWS = np.arange(12, dtype="float32").reshape(6, 2)


def failing(mean, weight=1.0, data=ROWS, **options):
    """Fit a latent with `mean(x, weight)` to rows; the weight afterwards, and what was said."""
    weight = theano.shared(np.full(2, weight, "float32"), name="weight")
    x = tt.matrix("x", dtype="float32")
    with pm.Model():
        z = pm.Normal("z", 0, 1, shape=(3, 2), total_size=6)
        pm.Normal("obs", mean(x, weight) + z, 1, observed=x, total_size=6)
        with pytest.raises(NonFiniteError) as caught:
            fastvae.fit(
                5,
                local_rv={z: (x * weight, x * weight)},
                more_obj_params=[weight],
                more_replacements={x: data},
                obj_optimizer=fastvae.adam(learning_rate=0.1),
                random_seed=1,
                progressbar=False,
                **options,
            )
    assert "\n" not in str(caught.value)
    return weight.get_value(), str(caught.value)


def shared(data):
    return theano.shared(np.array(data, "float32"))


@on_every_device
def test_data_that_are_not_finite():
    bad = ROWS[:3].copy()
    bad[1, 0] = np.nan
    weight, said = failing(lambda x, w: x * w, data=shared(bad))
    assert said.startswith("the first step fails, its loss is nan: the input x")
    assert "not the learning rate" in said and "the data or the model is the cause" in said
    assert (weight == 1).all()  # the step is taken back


@on_every_device
def test_a_term_that_is_not_finite():
    weight, said = failing(lambda x, w: tt.log(-w), data=fastvae.Minibatch(ROWS, 3, seed=1))
    assert "log p(obs) is not finite; the data or the model" in said and (weight == 1).all()


@on_every_device
def test_a_streamed_minibatch_is_read_again():
    _, said = failing(lambda x, w: tt.log(-w), data=fastvae.Minibatch(lambda epoch, start: iter(ROWS[start:]), 3))
    assert "log p(obs) is not finite" in said


def test_an_iterator_is_not():
    _, said = failing(lambda x, w: tt.log(-w), data=fastvae.Minibatch(iter(ROWS), 3))
    assert "the data or the model is the cause" in said


@on_every_device
def test_a_gradient_that_is_not_finite():
    weight, said = failing(lambda x, w: tt.sqrt(w), weight=0.0, data=fastvae.Minibatch(ROWS, 3, seed=1))
    assert "the step makes 'weight' infinite or NaN: its gradient is not finite" in said and (weight == 0).all()


@on_every_device
def test_an_initial_parameter_that_is_not_finite():
    _, said = failing(lambda x, w: x * w, weight=np.inf, data=fastvae.Minibatch(ROWS, 3, seed=1))
    assert "before the first step the value of 'weight' is not finite" in said


@on_every_device
def test_a_later_step_may_be_the_learning_rate():
    images = np.random.default_rng(0).random((8, 1, 4, 4))
    with pytest.raises(NonFiniteError, match="at step .*smaller learning rate"):
        fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=4, seed=1).fit(
            images, n=20, batch_size=2, learning_rate=1e30, seed=1, progressbar=False
        )
