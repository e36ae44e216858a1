"""The fixture `device`: what computes the same on every device is tested on each, CPU, CUDA and OpenCL.

A process has one device from its start on, so a GPU's tests run in a process of its own: another pytest, which collects
the same files and runs the tests that this one names. Here such a test has no fixture but `device`, and ends as it
ended there.

    @on_every_device
    def test_...            runs as test_...[cpu], test_...[cuda] and test_...[opencl]

What would take too long is left to `pytest -m exhaustive`; on GPUs a `SAMPLE` runs always. CUDA is the
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
LAUNCHES = ("cuLaunchKernel", "cuGraphLaunch")
WORK = ("launches", "convolutions", "products", "host_to_device", "device_to_host")
SECONDS = 300  # no test takes as long on a GPU

# What runs on a GPU in every run, by the beginnings of tests' names, and what of that does not.
SAMPLE = {
    "cuda": ("tests/",),
    "opencl": (  # PoCL takes seconds for a kernel
        "tests/backends/gpu/test_repairs.py",
        "tests/checkpoint/test_format_1.py::test_a_checkpoint_goes_on_as_in_one_go[opencl-mlp]",
        "tests/elbo/test_steps.py::test_seed_models",
    ),
}
TOO_LONG = (
    "tests/checkpoint/test_format_1.py::test_a_checkpoint_goes_on_as_in_one_go[cuda-conv]",
    "tests/distributions/test_beta_binomial.py::test_the_errors_are_those_of_the_docstring",
    "tests/distributions/test_likelihood.py::test_images_on_disk_train_as_in_memory[cuda->f2",
    "tests/distributions/test_likelihood.py::test_images_on_disk_train_as_in_memory[cuda-bool-likelihood",
    "tests/distributions/test_posterior.py::test_a_model_of_it_trains_is_judged_and_comes_back[cuda-True",
    "tests/elbo/test_objective.py::test_the_bound_rises_with_the_samples_up_to_log_p",
    "tests/elbo/test_steps.py::test_likelihoods[cuda-beta-binomial",
    "tests/elbo/test_steps.py::test_objectives[cuda-full-covariance-dreg",
    "tests/elbo/test_steps.py::test_objectives[cuda-full-covariance-elbo",
    "tests/elbo/test_steps.py::test_objectives[cuda-full-covariance-iwae",
    "tests/elbo/test_steps.py::test_objectives[cuda-mean-field-analytic",
    "tests/elbo/test_updates.py::test_a_users_model_has_the_loss_gradients_and_running_statistics_of_k_passes[cuda-more",
    "tests/evaluation/test_importance.py::test_importance_sampling_equals_the_closed_form",
    "tests/models/test_models.py::test_a_decoder_of_correlated_pixels",
    "tests/nn/test_modes.py",
    "tests/training/parts/test_best.py",
    "tests/training/test_foreign.py::test_random_streams_follow_stock_and_are_resumed_bit_for_bit",
    "tests/training/test_resume.py::test_losses_may_be_fetched_at_other_steps[cuda-False-7-1",
    "tests/training/test_resume.py::test_losses_may_be_fetched_at_other_steps[cuda-True",
    "tests/training/test_training.py::test_an_inference_goes_on_with_refine",
    "tests/training/test_training.py::test_callbacks_see_what_pymc3_gives_them",
    "tests/training/test_training.py::test_epochs_count_the_batches_of_the_data",
    "tests/training/test_training.py::test_local_beside_global_variables_learn_both",
    "tests/training/test_training.py::test_one_seed_repeats_exactly_and_another_does_not",
)
# Of theano's own GpuTri every block writes all ones of the triangle: a race of equal values.
HARMLESS = "race: two threads write: tri, "

on_every_device = pytest.mark.usefixtures("device")


def device_of(item):
    """The device that a collected test asks for; None if it does not ask."""
    return item.callspec.params.get("device") if hasattr(item, "callspec") else None


def gpu_in(nodeid):
    """The GPU that the name of a test says; None if it says none."""
    found = re.search(rf"[\[-]({'|'.join(GPUS)})[\]-]", nodeid)
    return found and found.group(1)


def sort_out(items):
    """Mark what is no sample, and let a test that runs elsewhere set up nothing here."""
    for item in items:
        device = device_of(item)
        if device not in GPUS:
            continue
        if not item.nodeid.startswith(SAMPLE[device]) or item.nodeid.startswith(TOO_LONG):
            item.add_marker("exhaustive")
        if device != HERE:
            item.fixturenames = ["device"]


class Elsewhere:
    """A pytest on another device, started when it is first asked for a test, and anew when one was its end."""

    def __init__(self, files, environ):
        self.command, self.environ = [sys.executable, "-m", "tests.on_devices", *files], environ
        self.process = None

    @property
    def lives(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        self.said = tempfile.TemporaryFile("w+")
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said)
        self.process = subprocess.Popen(self.command, env=self.environ, text=True, bufsize=1, **pipes)

    def run(self, nodeid, following):
        """Run a test there, and raise what it raised; what the `following` one needs too stays."""
        if not self.lives:
            self.start()
        try:
            self.process.stdin.write(json.dumps([nodeid, following]) + "\n")
            answers, _, _ = select.select([self.process.stdout], [], [], SECONDS)
            answer = self.process.stdout.readline() if answers else ""
        except BrokenPipeError:
            answer = ""
        if not answer:
            said = self.close()
            said = said if len(said) < 4000 else f"{said[:2000]}\n...\n{said[-2000:]}"
            pytest.fail(f"{nodeid}: its process ended or hung, and said: {said}", pytrace=False)
        outcome, text = json.loads(answer)
        if outcome == "failed":
            pytest.fail(text, pytrace=False)
        if outcome == "skipped":
            pytest.skip(text)

    def close(self):
        """End the process, and return what it said on standard error."""
        if self.process is None:
            return ""
        self.process.kill()
        self.process.communicate()
        self.process = None
        with self.said:
            self.said.seek(0)
            return self.said.read().partition("\nExtension modules:")[0]


def operations():
    """Kernels, calls of libraries and copies that ran on the computing device in this process."""
    counted = cuda_device.counts() if HERE == "cuda" else {}
    figures = cuda_device.figures({**counted, "cuLaunchKernel": sum(counted.get(name, 0) for name in LAUNCHES)})
    return sum(figures[name] for name in WORK)


def of_the_device(n_operations, findings):
    """The outcome of a test that passed."""
    if not n_operations:
        return "failed", f"nothing of it ran on {HERE}: it says nothing of it"
    wrong = [finding for finding in findings if not finding.startswith(HARMLESS)]
    return ("failed", "\n".join(wrong)) if wrong else ("passed", "")


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
    # by sys alone: what the device says before it aborts is not lost
    options = ["--quiet", "--capture=sys", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", ""]
    sys.exit(pytest.main([*options, *sys.argv[1:]], plugins=[Runner()]))
