"""What the benchmark of optimizers times."""

import time

import numpy as np
import pytest

from bench import optimizers
from bench.steps import compiled_step


def test_every_program_is_a_step_of_the_same_model():
    images = np.random.default_rng(0).random((20, 1, 4, 4)).astype("float32")
    losses = {}
    for name, optimizer, minibatch in optimizers.programs(["adam", "sgd"]):
        network = dict(image_shape=(1, 4, 4), hidden=4)
        step = compiled_step("mlp", minibatch(images, 5), 5, 20, network=network, obj_optimizer=optimizer)
        losses[name] = np.mean([step() for _ in range(100)])
    reference, *others = losses.values()
    assert others == pytest.approx([reference] * 2, rel=0.1)  # of other minibatches and noise
    assert list(losses) == ["fastvae.adam, fastvae.Minibatch", "pm.adam, pm.Minibatch", "pm.sgd, pm.Minibatch"]


def test_ratios_are_to_the_first(monkeypatch):
    monkeypatch.setattr(optimizers.timing, "SHORTEST", 0.01)

    def step(seconds):
        return lambda: time.sleep(seconds) or 1.0

    measured = optimizers.compare({"a": step(0.002), "b": step(0.006)}, rounds=2, seconds=0.01)
    assert measured["a"][1] == 1 and measured["a"][0] >= 2 and 1.5 < measured["b"][1] < 4
