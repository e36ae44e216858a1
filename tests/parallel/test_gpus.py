"""Two ranks, each on a GPU of the tests' device, train as one process: one group serves all tests, see `gpu_cases`."""

import os
import types

import numpy as np
import pytest

from fastvae.backends.gpu import nccl
from fastvae.errors import ConfigurationError, StackError
from tests import cuda_device
from tests.conftest import compile_cache, environment, gpu_flags
from tests.parallel import problem

PROBLEMS = ("mlp", "conv")
CASES = (
    "refused", "devices", *PROBLEMS, "copies", "sums", "layouts", "one_stops", "signalled", "nan", "skipped", "resumed",
    "findings",
)  # fmt: skip


@pytest.fixture(scope="module")
def pair(group, computing_device, tmp_path_factory):
    """The results of both ranks for each case, and what was said on the way; under the device's checks."""
    os.makedirs(compile_cache("cuda"), exist_ok=True)
    environ = {
        **environment("cuda", f"{gpu_flags()},{cuda_device.CHECKING_FLAGS}"), **cuda_device.environ(computing_device),
        "TEST_DEVICE_DEVICES": "2", "TEST_DEVICE_CHECK": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return group(2, *CASES, program="gpu_cases", folder=tmp_path_factory.mktemp("gpus"), **environ)


@pytest.fixture
def found(pair):
    return pair[0]


def test_each_rank_has_the_gpu_of_its_place_on_the_machine(found):
    devices, layers, gpus = zip(*found["devices"])
    assert devices == ("cuda0", "cuda1") and len(set(gpus)) == 2
    assert layers == tuple(f"profile cuda, rank {rank} of this machine" for rank in range(2))


@pytest.mark.parametrize("name", PROBLEMS)
def test_two_gpus_train_as_one_with_all_rows(found, name):
    (alone,) = [each["alone"] for each in found[name] if each["alone"]]
    first, other = [each["ranks"] for each in found[name]]
    assert other == first and len(first["losses"]) == problem.STEPS
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=1e-5)
    for mine, theirs in zip(first["params"], alone["params"]):
        assert np.linalg.norm(np.subtract(mine, theirs)) <= 1e-4 * np.linalg.norm(theirs)


def test_a_step_sums_in_one_group_and_copies_nothing(found):
    for rank in found["copies"]:
        calls = rank["last"]
        assert calls["ncclGroupStart"] == calls["ncclGroupEnd"] == 1
        assert calls["ncclAllReduce"] == rank["arrays"] == rank["in_place"] == 9  # loss and 8 gradients
        assert not [name for name in calls if name.startswith(("cuMemcpy", "cuMemAlloc", "cuStreamSync"))]


def test_sums_of_every_size(found):
    assert all(each["wrong"] < 1e-6 for each in found["sums"])


def test_what_nccl_would_sum_wrongly_is_refused(found):
    for each in found["sums"]:
        assert each["float64"].startswith("ranks sum float32 arrays in one piece on GPUs, not float64")
        assert each["transposed"] == "ranks sum float32 arrays in one piece on GPUs, not float32 of strides (4, 20)"


def test_means_of_arrays_in_no_piece(found):
    x = 2 * (np.arange(12).reshape(3, 4) + 0.5)
    for each in found["layouts"]:
        for mean, expected in zip(each["means"], (x.T, x[::2], x.sum())):
            np.testing.assert_array_equal(mean, expected)


def test_a_step_that_averages_float64_is_refused(found):
    words = "ranks on GPUs average float32 alone, on the GPUs, and this step averages float64"
    assert all(words in each["float64"] for each in found["layouts"])


def test_ranks_on_gpus_end_together(found):
    assert found["one_stops"] == 2 * [{"steps": 6, "ended_by": "callback"}]
    first, second = found["signalled"]
    assert first == second and first["ended_by"] == "SIGTERM"
    first, second = found["nan"]
    assert first == second and "the loss became nan at step 4" in first["error"]


def test_a_bad_step_of_one_gpu_is_skipped_by_both(found):
    assert found["skipped"] == 2 * [{"hist": [False, False, False, True, False, False]}]


def test_a_resumed_run_of_gpus_is_the_same_bit_for_bit(found):
    first, second = found["resumed"]
    assert first == second and first["same"] and len(first["losses"]) == 10


def test_the_step_is_not_recorded_and_one_rank_says_so(pair):
    found, said = pair
    fits = said.count("fastvae: 2 ranks")
    assert fits > 1 and said.count("the step is not recorded as a CUDA graph: 2 ranks average within it") == fits


def test_gpus_that_cannot_join_are_refused_on_all_ranks(found):
    first, second = found["refused"]
    assert first == second
    words = "ranks on GPUs average by NCCL, which rank 1 lacks: NCCL: it is not here; pip install it"
    assert words in first["library"] and "ranks 0 and 1 have one GPU" in first["device"]
    assert "ranks train on CPUs and NVIDIA's GPUs" in first["opencl"]


def test_nothing_is_found_in_the_steps_of_ranks(found):
    assert found["findings"] == [[], []]


@pytest.mark.parametrize(
    "places, words",
    [
        ([("a", 1, "cuda0"), ("a", 2, "cuda1"), ("b", 1, "cuda0")], None),
        ([("a", 1, "cuda0"), ("b", 1, "cuda0"), ("b", 1, "cuda0")], "ranks 1 and 2 have one GPU, cuda0 of b"),
    ],
)
def test_a_gpu_is_told_by_machine_and_place_on_its_bus(places, words):
    if words is None:
        return nccl._refuse_shared(places)
    with pytest.raises(ConfigurationError, match=words):
        nccl._refuse_shared(places)


def test_a_failure_of_nccl_is_named():
    clique = object.__new__(nccl.Clique)
    clique._library = types.SimpleNamespace(ncclGetErrorString=lambda status: b"invalid argument")
    with pytest.raises(StackError, match=r"NCCL failed \(invalid argument\): NCCL_DEBUG=INFO says more"):
        clique._check(4)
