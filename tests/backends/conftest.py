"""The backend of CPUs is on in these tests, but for those on a GPU; `stock` compiles without it."""

import numpy as np
import pytest
import theano

from fastvae import profiles
from fastvae.backends import cpu
from tests import on_devices
from tests.conftest import required_device


@pytest.fixture(scope="session", autouse=True)
def backend():
    if on_devices.HERE != "cpu":
        return
    required_device([finding for finding in [cpu.missing()] if finding])
    cpu.register(profiles.active())


@pytest.fixture
def stock():
    """Theano's mode without the backend's rewrites."""
    return theano.compile.mode.get_default_mode().excluding("fastvae_onednn")


@pytest.fixture
def rng():
    return np.random.RandomState(7)


@pytest.fixture
def close():
    """Whether a float32 result is within norm-wise 1e-5 of its reference."""

    def close(value, reference, tolerance=1e-5):
        assert np.shape(value) == np.shape(reference)
        error, size = np.linalg.norm(np.ravel(value - reference)), np.linalg.norm(np.ravel(reference))
        assert error <= tolerance * size + 1e-30, f"norm-wise error {error / size if size else error:.2g}"

    return close
