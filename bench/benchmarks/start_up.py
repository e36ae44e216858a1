"""From the start of a process to the end of the convolutional seed model's first step."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from .common import TOY, Measured, if_available

BATCH_SIZE = 4 if TOY else 64
WARM = 3  # starts with a full compile folder, the shortest of which counts


def measured():
    """Seconds with an empty and with a full compile folder, and the C modules that are in it then."""
    from bench.pairing import INSTALLED

    with tempfile.TemporaryDirectory() as folder:
        flags = [os.environ[name] for name in ("THEANO_FLAGS",) if os.environ.get(name)]
        environ = {**os.environ, "THEANO_FLAGS": ",".join([*flags, f"base_compiledir={folder}"])}
        times = []
        for _ in range(1 + WARM):
            started = time.perf_counter()
            command = [sys.executable, "-W", "ignore", *INSTALLED, "bench.first_step", "conv", str(BATCH_SIZE)]
            subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - started)
        modules = len(list(pathlib.Path(folder).rglob("*.so")))
    return {"cold": times[0], "warm": min(times[1:]), "modules": modules}


class FirstStep(Measured):
    """The time until training goes on."""

    def setup_cache(self):
        return if_available(measured)

    def track_cold_seconds(self, figures):
        return figures["cold"]

    def track_warm_seconds(self, figures):
        return figures["warm"]

    def track_c_modules(self, figures):
        return figures["modules"]

    track_cold_seconds.unit = "s"
    track_warm_seconds.unit = "s"
    track_c_modules.unit = "C modules"
