import numpy as np
import pytest

from tests.cuda_device.calls import Libraries


@pytest.fixture(scope="session")
def libraries(computing_device):
    """cuBLAS and cuDNN of the tests' device, called in this process."""
    opened = Libraries(computing_device)
    yield opened
    opened.close()


@pytest.fixture
def rng():
    return np.random.RandomState(0)
