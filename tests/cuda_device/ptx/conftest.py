import pytest

from tests import cuda_device
from tests.cuda_device.direct import Device


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """The driver of the tests' device, compiled."""
    return cuda_device.build_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def new_device(driver, tmp_path_factory):
    """Makes a device of its own: `new_device(CHECK=1, ORDER=3)`."""
    folder = tmp_path_factory.mktemp("devices")
    return lambda **settings: Device(driver, folder, **settings)


@pytest.fixture(scope="session")
def device(new_device):
    """One that many tests share, without checks."""
    return new_device()


@pytest.fixture
def checking(new_device):
    """A fresh one that checks every access."""
    return new_device(CHECK=1)
