"""Shared by the tests of layers."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def assert_close():
    """Hold a float32 result to a reference, norm-wise."""

    def check(actual, expected, tolerance=1e-5):
        actual = np.asarray(actual)
        assert actual.dtype == np.float32 and actual.shape == np.shape(expected)
        error = np.linalg.norm(actual.astype(float) - expected) / np.linalg.norm(expected)
        assert error <= tolerance

    return check
