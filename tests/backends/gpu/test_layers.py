"""On the tests' CUDA device: Ops of images compute what numpy does, users' networks what the CPU does; launches."""

import functools
import json

import numpy as np
import pytest

from fastvae import devices
from tests.backends.gpu import toy_networks
from tests.conftest import last_line_of, required_device

# Launches and nodes of a step at most, beside convolutions and products: with stock's batch norm, pooling and
# upsampling it was (78, 261), (162, 511), (523, 1722) and (79, 236).
STEPS = {"pooled": (33, 120), "pooled-bn": (32, 135), "residual": (90, 300), "notebook": (30, 140)}
# What is more than a launch in each direction: (forward, forward and gradient).
LAUNCHES = {
    "global average": (3, 5),  # the number of pixels, the sum, and the quotient
    "dropout": (2, 3),  # random numbers, and the mask
    "concatenation": (3, 4),
    "batch norm by given statistics": (2, 4),
}


@pytest.fixture(scope="module")
def on_device(cuda_process, tmp_path_factory):
    """The program's report, and what each network's steps made."""
    path = tmp_path_factory.mktemp("layers") / "trained.npz"
    report = json.loads(cuda_process("tests.backends.gpu.layers_program", path))
    with np.load(path) as arrays:
        return report, dict(arrays)


def test_every_op_equals_numpy_in_float64(on_device):
    errors = on_device[0]["errors"]
    wrong = {name: error for name, error in errors.items() if not error < 1e-5}
    assert not wrong and len(errors) > 150


def test_operands_that_do_not_fit_are_refused_with_their_sizes(on_device):
    expected = {
        "window": "Pool: windows do not fit in images of 3 x 5: windows of 4 x 2, padding 0 x 0",
        "no pixel": "Pool: a window has no pixel in images of 0 x 5: windows of 2 x 2, padding 0 x 0",
        "pooled": "PoolGradient: a gradient of another shape in images of 3 x 5: windows of 2 x 2, padding 0 x 0",
        "blocks": "BlockSum: no whole number of windows in images of 3 x 5: windows of 2 x 1, padding 0 x 0",
        "bilinear": "BilinearUpsampleGradient: images of 3 x 5 pixels do not consist of blocks of 1 x 2",
        "statistics": "BatchNormTrain: input 2 has 2 elements, not 3",
        "gradient": "BatchNormGradient: input 1 has 90 elements, not 90 in the shape of input 0",
    }
    refusals = on_device[0]["refusals"]
    assert refusals.pop("slice").endswith("shape (3,) does not fit into zeros of shape (5,)")
    assert refusals == expected


def test_no_images_become_none_and_give_no_gradient(on_device):
    shapes, gradients = on_device[0]["nothing"]
    assert shapes == [[0, 3, 2, 3], [0, 3, 8, 6], [0, 3, 5, 7], [0, 3, 4, 6], [0, 3, 4, 6]] and gradients == [0, 0]


@pytest.mark.parametrize("name", STEPS)
def test_a_users_network_stays_on_the_device(on_device, name):
    step = on_device[0]["networks"][name]
    launches, nodes = STEPS[name]
    print(step)
    assert step["launches"] <= launches and step["nodes"] <= nodes
    still = ("device_to_host", "host_to_device", "synchronisations", "allocations")
    assert [step[figure] for figure in still] == [0] * len(still)


def test_each_concept_is_a_launch_in_each_direction(on_device):
    for name, (launches, others) in on_device[0]["concepts"].items():
        most = LAUNCHES.get(name, (1, 2))
        assert launches[0] <= most[0] and launches[1] <= most[1] and not others, (name, launches, others)


@functools.cache
def on_the_cpu(name):
    """What training makes of a network here."""
    return toy_networks.trained(*toy_networks.STEPS[name]())


def assert_trained_as_here(arrays, name):
    """The losses are equal to 1e-5; parameters, moments of gradients and running statistics to 1e-4."""
    for i, reference in enumerate(on_the_cpu(name)):
        difference = np.linalg.norm(np.asarray(arrays[f"{name} {i}"], "float64") - reference)
        assert difference <= (1e-5 if i == 0 else 1e-4) * np.linalg.norm(reference), i


@pytest.mark.parametrize("name", toy_networks.STEPS)
def test_training_is_that_of_the_cpu(on_device, name):
    assert_trained_as_here(on_device[1], name)


def test_so_it_is_under_opencl(tmp_path):
    required_device(devices.missing_for("opencl"))
    path, options = tmp_path / "trained.npz", dict(flags=",gcc.cxxflags=-O0", cache="opencl", FASTVAE_PROFILE="opencl")
    report = json.loads(last_line_of("tests.backends.gpu.layers_program", path, "opencl", **options))
    assert all(error < 1e-5 for error in report["errors"].values())
    with np.load(path) as arrays:
        assert_trained_as_here(arrays, "pooled-bn")


def test_nothing_is_found_wrong_and_numbers_do_not_depend_on_the_order(cuda_process, tmp_path, on_device):
    path, options = tmp_path / "trained.npz", dict(checked=True, TEST_DEVICE_ORDER="7")
    report = json.loads(cuda_process("tests.backends.gpu.layers_program", path, "check", **options))
    assert report["findings"] == [] and all(error < 1e-5 for error in report["errors"].values())
    with np.load(path) as arrays:
        for name, value in arrays.items():
            np.testing.assert_array_equal(value, on_device[1][name], err_msg=name)
