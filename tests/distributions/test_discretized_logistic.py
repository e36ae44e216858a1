"""The logistic against exact arithmetic."""

import decimal

import numpy as np
import pytest

from tests.distributions.cases import LEVELS
from tests.on_devices import on_every_device


@on_every_device
@pytest.mark.parametrize("centre, log_scale", [(100, -100), (-100, 0), (0.5, -6), (0, 50), (3, -3)])
def test_logistic_far_out_equals_exact_arithmetic(centre, log_scale, functions):
    def sigmoid(value):
        return 1 / (1 + (-value).exp())

    decimal.getcontext().prec = 300
    d = decimal.Decimal
    scale, x = d(min(max(log_scale, -7), 7)).exp(), LEVELS[[0, 1, 128, 254, 255]].reshape(5, 1, 1, 1)
    output = np.array([centre, log_scale], "float32").reshape(1, 2, 1, 1).repeat(5, axis=0)
    nats, gradient, _ = functions("logistic")(x, output)
    for level, value in zip((0, 1, 128, 254, 255), nats.ravel()):
        upper = sigmoid((d(2 * level + 1) / 255 - 1 - d(centre)) / scale) if level < 255 else d(1)
        lower = sigmoid((d(2 * level - 1) / 255 - 1 - d(centre)) / scale) if level > 0 else d(0)
        exact = float((upper - lower).ln()) if upper > lower else -np.inf
        assert value == pytest.approx(exact, rel=1e-4, abs=1e-4) or exact < -600
    assert np.isfinite(nats).all() and np.isfinite(gradient).all()
