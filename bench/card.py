"""The NVIDIA GPU of this machine, as its driver describes it, and the float32 peak that follows.

The driver is asked in a child process. Nothing of fastvae is imported, which would start the device.

Examples
--------
>>> round(Card("a card of 132 multiprocessors", (9, 0), 132, 1_980_000, (13, 0)).peak / 1e12, 1)
66.9
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

FORMULA = "multiprocessors x float32 lanes of each x 2 (a fused multiply-add) x clock"
LANES = {(7, 5): 64, (8, 0): 64}  # float32 lanes of a multiprocessor by compute capability (CUDA's programming guide)
PATIENCE = 60  # seconds
MOST_LANES = 128  # of every other one from Turing to Hopper

# Multiprocessors (attribute 16), clock in kHz (13), compute capability (75, 76), as a JSON list.
_PROBE = """
import ctypes, json
cuda = ctypes.CDLL("libcuda.so.1")
def number(function, *arguments, kind=ctypes.c_int):
    value = kind()
    status = function(ctypes.byref(value), *arguments)
    if status:
        raise SystemExit("the driver answers %s with status %d" % (function.__name__, status))
    return value.value
if cuda.cuInit(0):
    raise SystemExit("the driver sees no device")
device = number(cuda.cuDeviceGet, 0)
name = ctypes.create_string_buffer(256)
cuda.cuDeviceGetName(name, 256, device)
major, minor, multiprocessors, clock = (number(cuda.cuDeviceGetAttribute, key, device) for key in (75, 76, 16, 13))
version = number(cuda.cuDriverGetVersion)
serves = version // 1000, version % 1000 // 10
print(json.dumps([name.value.decode(), [major, minor], multiprocessors, clock, serves]))
"""


class Card(NamedTuple):
    """Name, compute capability, multiprocessors, highest clock in kHz, and the CUDA version that the driver serves."""

    name: str
    capability: tuple
    multiprocessors: int
    kilohertz: int
    driver: tuple

    @property
    def lanes(self) -> int:
        """Float32 lanes of a multiprocessor."""
        return LANES.get(tuple(self.capability), MOST_LANES)

    @property
    def peak(self) -> float:
        """Floating point operations a second in float32, without tensor cores."""
        return self.multiprocessors * self.lanes * 2 * self.kilohertz * 1e3


def card() -> Card:
    """The first GPU, as a `Card`.

    Raises
    ------
    RuntimeError
        If there is no driver, or it does not answer.
    """
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"asking NVIDIA's driver failed ({last}): run it on a machine with a GPU (fastvae devices)")
    return Card(*json.loads(done.stdout))
