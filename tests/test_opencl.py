"""The GPU profile's graph on a real device: OpenCL on the CPU by PoCL. What it computes is what the CPU does."""

import fastvae  # isort: skip
import numpy as np
import pytest

from fastvae import devices
from tests.conftest import last_line_of, required_device


@pytest.fixture(scope="module")
def opencl():
    required_device(devices.missing_for("opencl"))


@pytest.fixture(scope="module")
def reports(opencl, tmp_path_factory):
    """The program's arrays by profile."""
    found = {}
    for profile, flags, cache in (("opencl", ",gcc.cxxflags=-O0", "opencl"), ("cpu", "", "")):
        path = tmp_path_factory.mktemp(profile) / "report.npz"
        last_line_of("tests.opencl_program", path, flags=flags, cache=cache, FASTVAE_PROFILE=profile)
        with np.load(path) as arrays:
            found[profile] = dict(arrays)
    return found


def error(reports, name):
    """How far the GPU's array is from the CPU's, in its norm."""
    ours, reference = (np.asarray(reports[profile][name], "float64") for profile in ("opencl", "cpu"))
    assert ours.shape == reference.shape
    return np.linalg.norm(ours - reference) / np.linalg.norm(reference)


def test_it_ran_on_the_device(reports):
    assert str(reports["opencl"]["device"]).startswith("opencl") and reports["cpu"]["device"] == "cpu"


@pytest.mark.parametrize("model", ["MLPVAE", "ConvVAE"])
def test_the_loss_and_every_gradient_are_the_cpus(reports, model):
    parameters = len(getattr(fastvae, model)((1, 8, 8), hidden=8).get_params())
    named = [name for name in reports["cpu"] if name.startswith(model) and not name.endswith(": hist")]
    errors = {name: error(reports, name) for name in named}
    print(errors)
    assert len(errors) == parameters + 1
    assert max(errors.values()) < 1e-4


def test_adam_does_what_it_does_on_the_cpu_in_place_and_beside(reports):
    errors = {name: error(reports, name) for name in reports["cpu"] if name.startswith("Adam")}
    assert len(errors) == 15 + 7
    assert max(errors.values()) < 1e-6


def test_a_users_network_with_batch_norm_and_pooling_is_the_cpus(reports):
    errors = {name: error(reports, name) for name in reports["cpu"] if name.startswith("pooled-bn")}
    assert len(errors) == 68
    assert max(errors.values()) < 1e-4


def test_fifty_iterations_learn(reports):
    ours, reference = (reports[profile]["MLPVAE: hist"] for profile in ("opencl", "cpu"))
    assert len(ours) == 50 and ours[-10:].mean() < 0.8 * ours[:10].mean()
    np.testing.assert_allclose(ours[:10], reference[:10], rtol=1e-4)
    np.testing.assert_allclose(ours, reference, rtol=1e-2)
