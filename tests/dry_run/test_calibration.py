"""The dry-run device counts what it should: stock's step gives the figures that are known of it."""

import ctypes
import json
import subprocess
import sys

import pytest

from tests import dry_run
from tests.conftest import ROOT

# 22 convolutions: the encoder's backward pass runs twice. To the device: Adam's counter and other 0-d scalars, shapes.
# To the host: the loss, two scalar log densities, and two noises of which only the shape is wanted. The
# synchronisation is the index check of GpuAdvancedSubtensor1.
STOCK = dict(
    launches=137, host_to_device=8, device_to_host=5, synchronisations=1, allocations=0, convolutions=22, products=21
)


@pytest.fixture(scope="module")
def stock(dry_run_process):
    return json.loads(dry_run_process("tests.dry_run.stock_step", stock=True))


def test_stocks_step_has_its_known_figures(stock):
    print(stock["nodes"], "nodes", dry_run.figures(stock["step"]))
    assert dry_run.figures(stock["step"]) == STOCK
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
    "action, figure",
    [
        ("to_device", "host_to_device"),
        ("to_host", "device_to_host"),
        ("synchronisation", "synchronisations"),
        ("allocation", "allocations"),
    ],
)
def test_one_deliberate_call_raises_exactly_its_counter(stock, action, figure):
    figures = dry_run.figures(stock[action])
    assert figures.pop(figure) == 1
    assert not any(figures.values()), figures


def test_an_unknown_entry_point_aborts(dry_run_device):
    code = f"import ctypes; ctypes.CDLL({str(dry_run_device / 'driver/libcuda.so.1')!r}).cuMemcpyPeerAsync()"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.returncode == -6 and "does not know cuMemcpyPeerAsync" in child.stderr
    driver = ctypes.CDLL(str(dry_run_device / "driver/libcuda.so.1"))
    assert not hasattr(driver, "cuMemAllocManaged")


def test_nothing_of_the_package_knows_it():
    package = [path.read_text() for path in (ROOT / "fastvae").rglob("*.py")]
    assert not any("dry_run" in text or "DRY_RUN" in text for text in package)
