"""The tests' device counts what it should: stock's step gives the figures that are known of it."""

import ctypes
import json
import subprocess
import sys

import pytest

from tests import cuda_device
from tests.conftest import ROOT

# 22 convolutions: the encoder's backward pass runs twice. To the device: Adam's counter and other 0-d scalars, shapes.
# To the host: the loss, two scalar log densities, and two noises of which only the shape is wanted. The
# synchronisation is the index check of GpuAdvancedSubtensor1.
STOCK = dict(
    launches=137, host_to_device=8, device_to_host=5, synchronisations=1, allocations=0, convolutions=22, products=21
)


@pytest.fixture(scope="module")
def stock(cuda_process):
    return json.loads(cuda_process("tests.cuda_device.stock_step", stock=True))


def test_stocks_step_has_its_known_figures(stock):
    print(stock["nodes"], "nodes", cuda_device.figures(stock["step"]))
    assert cuda_device.figures(stock["step"]) == STOCK
    assert stock["step"]["cuMemGetInfo_v2"] == 22  # stock asks in every convolution
    assert stock["step"]["math_default"] == 22  # and lets each take TF32


@pytest.mark.parametrize(
    "kind, theirs", [("forward", "GpuDnnConv"), ("by image", "GpuDnnConvGradI"), ("by weights", "GpuDnnConvGradW")]
)
def test_convolutions_are_those_of_theanos_own_ops_compiled_with_the_wrapper_header(stock, kind, theirs):
    names, difference = stock["differences"][kind]
    assert {"Convolution", theirs} <= set(names)
    assert difference < 1e-6


@pytest.mark.parametrize(
    "layer, theirs",
    [
        ("pooling", {"GpuDnnPool", "GpuDnnPoolGrad"}),
        ("batch normalisation", {"GpuDnnBatchNorm", "GpuDnnBatchNormGrad"}),
    ],
)
def test_theanos_own_layers_call_cudnn_and_give_numpys_numbers(stock, layer, theirs):
    names, error = stock["layers"][layer]
    assert theirs <= set(names)
    assert error < 1e-6


@pytest.mark.parametrize(
    "action, figure",
    [
        ("to_device", "host_to_device"),
        ("to_host", "device_to_host"),
        ("synchronisation", "synchronisations"),
        ("allocation", "allocations"),
    ],
)
def test_one_deliberate_call_raises_exactly_its_counter(stock, action, figure):
    figures = cuda_device.figures(stock[action])
    assert figures.pop(figure) == 1
    assert not any(figures.values()), figures


def test_an_unknown_entry_point_aborts(computing_device):
    code = f"import ctypes; ctypes.CDLL({str(computing_device / 'driver/libcuda.so.1')!r}).cuMemcpyPeerAsync()"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.returncode == -6 and "does not know cuMemcpyPeerAsync" in child.stderr
    driver = ctypes.CDLL(str(computing_device / "driver/libcuda.so.1"))
    assert not hasattr(driver, "cuMemAllocManaged")


def test_nothing_of_the_package_knows_it():
    package = [path.read_text() for path in (ROOT / "fastvae").rglob("*.py")]
    assert not any("cuda_device" in text or "TEST_DEVICE" in text for text in package)
