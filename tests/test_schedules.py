"""Schedules follow their formulas, count only steps, and change the step without compiling it again."""

import numpy as np
import pytest
import theano

import fastvae
from fastvae import schedules
from fastvae.errors import ConfigurationError
from tests.on_devices import on_every_device

SCHEDULES = {
    "linear": (lambda: schedules.linear(0.2, 1, 5), lambda t: 0.2 + 0.8 * np.minimum(t / 5, 1)),
    "cosine": (
        lambda: schedules.cosine(1, 0.1, 5),
        lambda t: 0.1 + 0.45 * (1 + np.cos(np.pi * np.minimum(t / 5, 1))),
    ),
    "exponential": (lambda: schedules.exponential(2, 0.9), lambda t: 2 * 0.9**t),
    "product": (
        lambda: schedules.linear(0, 1, 2) * schedules.exponential(1, 0.5),
        lambda t: np.minimum(t / 2, 1) * 0.5**t,
    ),
}


@pytest.mark.parametrize("schedule, formula", SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_follows_its_formula(schedule, formula):
    value = schedule()
    step = theano.function([], value)
    assert value.dtype == "float32"
    assert not [v for node in step.maker.fgraph.toposort() for v in node.outputs if v.dtype == "float64"]
    np.testing.assert_allclose([step() for _ in range(8)], formula(np.arange(8)), rtol=1e-6)


@on_every_device
def test_a_schedule_is_the_rate_of_every_step():
    weights = [theano.shared(np.zeros(3, "float32")) for _ in SCHEDULES]
    updates = [(w, w + make() * np.float32([1, 2, 3])) for w, (make, _) in zip(weights, SCHEDULES.values())]
    step = theano.function([], updates=updates)
    for n in range(1, 8):
        step()
        for w, (_, formula) in zip(weights, SCHEDULES.values()):
            np.testing.assert_allclose(
                w.get_value(), formula(np.arange(n)).sum() * np.arange(1, 4), rtol=1e-5, atol=1e-7
            )


@on_every_device
def test_adam_takes_a_schedule_as_its_learning_rate():
    weight = theano.shared(np.float32(1), "weight")
    optimizer = fastvae.adam(learning_rate=schedules.linear(0, 0.1, steps=2))
    step = theano.function([], updates=optimizer([np.float32(1) * weight / weight], [weight]))
    seen = []
    for _ in range(4):
        before = float(weight.get_value())
        step()
        seen.append(before - float(weight.get_value()))
    np.testing.assert_allclose(seen, [0, 0.05, 0.1, 0.1], atol=1e-5)  # a constant gradient: Adam steps by its rate


def test_the_counter_is_an_updated_shared_variable_and_no_parameter():
    value = schedules.linear(0, 1, 10)
    step = theano.function([], value)
    step()
    (counter,) = step.get_shared()
    assert (counter.name, counter.get_value()) == ("schedule.step", 1)
    counter.set_value(np.int64(7))  # what a restored checkpoint does
    assert step() == np.float32(0.7)
    assert fastvae.collect_params(value * theano.shared(np.ones(2, "float32"))) != [counter]


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: schedules.linear(0, 1, 0), "steps=0 must be an integer of at least 1"),
        (lambda: schedules.linear(0, "1", 5), "stop='1' must be a finite number"),
        (lambda: schedules.cosine(float("nan"), 1, 5), "start=nan must be a finite number"),
        (lambda: schedules.exponential(1, 0), "factor=0 must be a finite number above 0"),
    ],
)
def test_arguments_are_checked(call, match):
    with pytest.raises(ConfigurationError, match=match):
        call()
