"""Faults planted in calls of cuBLAS and cuDNN are seen: by the number that comes out, by a status, or by the checks."""

import json
import math

import pytest

from tests import cuda_device
from tests.conftest import last_line_of

BAD = 2000
SOUND = ("gemm", "convolution")


@pytest.fixture(scope="module")
def report(computing_device):
    environ = {**cuda_device.environ(computing_device), "TEST_DEVICE_CHECK": "1"}
    return json.loads(last_line_of("tests.cuda_device.planted_calls", **environ))


@pytest.mark.parametrize("name", SOUND)
def test_the_sound_call_gives_nothing_to_find(report, name):
    assert report[name]["status"] == 0 and report[name]["error"] < 1e-6 and not report[name]["findings"]


@pytest.mark.parametrize("name", ["an operand taken for its transposition", "strides of channels last"])
def test_a_wrong_layout_within_the_array_gives_wrong_numbers(report, name):
    assert report[name]["status"] == 0 and report[name]["error"] > 0.1 and not report[name]["findings"]


@pytest.mark.parametrize(
    "name, found",
    [
        ("leading dimensions swapped", "out of bounds: cublasSgemm_v2: A"),
        ("a leading dimension too large by one", "out of bounds: cublasSgemm_v2: A"),
        ("a table of pointers with one too far", "out of bounds: cublasSgemmBatched: C"),
        ("a stride too large", "out of bounds: cudnnConvolutionForward: the image"),
        ("a workspace that is smaller than said", "out of bounds: cudnnConvolutionForward: the workspace"),
        ("an operand that nobody wrote", "uninitialised: cublasSgemm_v2: A"),
        ("C overlaps A", "cublasSgemm_v2: C, which is written, overlaps A"),
        ("two results in one place", "the running mean, which is written, overlaps the saved mean"),
        ("the top overlaps the image", "cudnnConvolutionForward: the result, which is written, overlaps the image"),
    ],
)
def test_the_checks_find(report, name, found):
    assert any(found in line for line in report[name]["findings"]), report[name]


@pytest.mark.parametrize("name", ["TF32 left on in cuBLAS", "TF32 left on in cuDNN"])
def test_tf32_left_on_is_a_thousand_times_off(report, name):
    assert 1e-4 < report[name]["error"] < 1e-3 and not report[name]["findings"]


def test_a_workspace_said_to_be_too_small_is_refused(report):
    refused = report["a workspace said to be too small"]
    assert refused["status"] == BAD and math.isclose(refused["error"], 1)  # nothing was computed
