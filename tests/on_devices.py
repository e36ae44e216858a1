"""The fixture `device`: what computes the same on every device is tested on each, CPU, CUDA and OpenCL.

A process has one device from its start on, so a GPU's tests run in a process of its own: another pytest, which collects
the same files and runs the tests that this one names. Here such a test has no fixture but `device`, and ends as it
ended there.

    @on_every_device
    def test_...            runs as test_...[cpu], test_...[cuda] and test_...[opencl]

What would take too long is left to `pytest -m exhaustive`: on GPUs only tests of `SAMPLE` run always. CUDA is the
computing device of `tests.cuda_device`, OpenCL is PoCL.
"""

import json
import os
import re
import select
import subprocess
import sys
import tempfile

import pytest

from tests import cuda_device

GPUS = ("cuda", "opencl")
HERE = os.environ.get("TESTS_RUN_ON", "cpu")  # the device of this process
SECONDS = 300  # no test takes as long on a GPU

# What of a GPU's tests is not exhaustive: files, or tests of a file.
SAMPLE = {"cuda": ("tests/",), "opencl": ("tests/",)}

on_every_device = pytest.mark.usefixtures("device")


def device_of(item):
    """The device that a collected test asks for; None if it does not ask."""
    return item.callspec.params.get("device") if hasattr(item, "callspec") else None


def gpu_in(nodeid):
    """The GPU that the name of a test says; None if it says none."""
    found = re.search(rf"[[-]({'|'.join(GPUS)})[]-]", nodeid)
    return found and found.group(1)


def sort_out(items):
    """Mark what is no sample, and let a test that runs elsewhere set up nothing here."""
    for item in items:
        device = device_of(item)
        if device not in GPUS:
            continue
        if not item.nodeid.startswith(SAMPLE[device]):
            item.add_marker("exhaustive")
        if device != HERE:
            item.fixturenames = ["device"]


class Elsewhere:
    """A pytest on another device."""

    def __init__(self, files, environ):
        self.said = tempfile.TemporaryFile("w+")
        command = [sys.executable, "-m", "tests.on_devices", *files]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said)
        self.process = subprocess.Popen(command, env=environ, text=True, bufsize=1, **pipes)

    def run(self, nodeid, following):
        """Run a test there, and raise what it raised; what the `following` one needs too stays."""
        try:
            self.process.stdin.write(json.dumps([nodeid, following]) + "\n")
            answers, _, _ = select.select([self.process.stdout], [], [], SECONDS)
            answer = self.process.stdout.readline() if answers else ""
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            self.said.seek(0)
            pytest.fail(f"{nodeid}: its process ended or hung, and said: {self.said.read()[-4000:]}", pytrace=False)
        outcome, text = json.loads(answer)
        if outcome == "failed":
            pytest.fail(text, pytrace=False)
        if outcome == "skipped":
            pytest.skip(text)

    @property
    def lives(self):
        return self.process.poll() is None

    def close(self):
        self.process.kill()
        self.process.communicate()


def operations():
    """Kernels and calls of libraries that ran on the computing device in this process."""
    counted = cuda_device.counts() if HERE == "cuda" else {}
    figures = cuda_device.figures(counted)
    return counted.get("cuGraphLaunch", 0) + sum(figures[name] for name in ("launches", "convolutions", "products"))


def of_the_device(n_operations, findings):
    """The outcome of a test that passed."""
    if not n_operations:
        return "failed", f"nothing of it ran on {HERE}: it says nothing about that device"
    return ("failed", "\n".join(findings)) if findings else ("passed", "")


class Runner:
    """The loop of such a pytest: it is asked for tests by name and answers what came of them."""

    def __init__(self):
        # pytest captures what tests read and write
        self.requests, self.answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def pytest_runtestloop(self, session):
        items = {item.nodeid: item for item in session.items if device_of(item) == HERE}
        for name, following in map(json.loads, self.requests):
            self.outcome = "passed", ""
            done = operations()
            session.config.hook.pytest_runtest_protocol(item=items[name], nextitem=items.get(following))
            if self.outcome[0] == "passed" and HERE == "cuda":
                self.outcome = of_the_device(operations() - done, cuda_device.findings())
            self.answers.write(json.dumps(self.outcome) + "\n")
        return True

    def pytest_runtest_logreport(self, report):
        if self.outcome[0] == "passed" and not report.passed:
            sections = (f"\n--- {title} ---\n{text}" for title, text in report.sections)
            self.outcome = report.outcome, report.longreprtext + "".join(sections)


if __name__ == "__main__":
    options = ["--quiet", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", ""]
    sys.exit(pytest.main([*options, *sys.argv[1:]], plugins=[Runner()]))
