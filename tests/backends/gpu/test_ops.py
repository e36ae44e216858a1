"""On the tests' device: cuDNN's Op computes what numpy does, in strict float32, and the seed step has 14 of them."""

import json
import pathlib
import re
import subprocess
import sysconfig

import pytest

from bench.convolution_cases import GEOMETRIES, KINDS
from tests import cuda_device
from tests.conftest import required_device

WHEELS = pathlib.Path(sysconfig.get_paths()["purelib"], "nvidia")
PTXAS = {12: WHEELS / "cuda_nvcc/bin/ptxas", 13: WHEELS / "cu13/bin/ptxas"}
PTX = {12: "8.8", 13: "9.0"}  # the version that nvrtc writes


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """By CUDA's major version a folder that gets every kernel that the driver loads, as PTX."""
    return {cuda: tmp_path_factory.mktemp(f"kernels_{cuda}") for cuda in PTX}


@pytest.fixture(scope="module")
def report(cuda_process, kernels):
    return json.loads(cuda_process("tests.backends.gpu.program", TEST_DEVICE_PTX=str(kernels[12])))


@pytest.fixture(scope="module")
def report_13(cuda_process, computing_device_13, kernels):
    """Of the step alone, its kernels compiled by nvrtc 13."""
    options = dict(device=computing_device_13, TEST_DEVICE_PTX=str(kernels[13]))
    return json.loads(cuda_process("tests.backends.gpu.program", "step", **options))


@pytest.mark.parametrize("kind", KINDS)
def test_every_geometry_equals_numpy_whether_its_operands_are_contiguous_or_not(report, kind):
    errors = {geometry: report["errors"][f"{kind}, {geometry}"] for geometry in GEOMETRIES}
    assert max(errors.values()) < 1e-6, errors


def test_the_gradient_of_no_images_is_zero(report):
    assert report["errors"]["no images"] == 0


def test_operands_that_do_not_fit_are_refused_with_their_shapes(report):
    assert set(report["refusals"]) == {"channels", "small", "no channels"}
    assert "image (3, 1, 7, 8), weights (4, 2, 3, 2) in 1 groups" in report["refusals"]["channels"]


def test_an_algorithm_that_refuses_is_replaced_once_and_for_all(report):
    refuses, workspace = report["fall_backs"]["refuses"], report["fall_backs"]["workspace"]
    for counted in (refuses, workspace):
        assert counted.pop("error") < 1e-6
        assert (counted["cudnnConvolutionForward"], counted["algorithm_0"]) == (2, 2)
        assert "algorithm_1" not in counted and counted["cudnnGetConvolutionForwardAlgorithm_v7"] == 1


def test_descriptors_are_released(report):
    before, during, after = report["leaks"]
    assert before == after and during - before <= 16 * 6


def test_stock_convolutions_are_lowered(report):
    lowered = report["lowered"]
    assert lowered["stock"]["Convolution"] == 2  # forward and the weights' gradient
    assert lowered["transposed"]["Convolution"] == 1
    assert lowered["inputs only"]["Convolution"] == 1
    assert lowered["asymmetric"]["GpuCorrMM"] == 1  # cuDNN pads both sides of an axis alike
    assert lowered["upsampled"]["Upsample"] == 1
    assert not any("Deferred" in ops or "Conv2d" in str(ops) for ops in lowered.values())


def test_no_op_of_the_cpu_backend_is_loaded(report):
    assert "fastvae.backends.gpu.ops.convolution" in report["loaded"]
    assert not [name for name in report["loaded"] if name.startswith("fastvae.backends.cpu.")]


def test_the_table_of_rewrites_is_true(report):
    lines = [line.split() for line in report["table"].splitlines() if line.strip().startswith("fastvae_")]
    positions = {name: at for name, at in report["positions"].items() if name.startswith("fastvae_")}
    assert {words[0]: float(words[1]) for words in lines} == positions


def test_the_seed_step_has_14_convolutions_in_strict_float32_and_stays_on_the_device(report):
    """At the seed's own size but for the batch, which no count depends on; the images are resident as bytes."""
    seed = report["buffered"]
    figures = cuda_device.figures(seed["step"])
    print(seed["nodes"], "nodes", figures)
    assert figures["convolutions"] == seed["ops"]["Convolution"] == 14
    assert seed["step"]["math_fma"] == 14 and report["override"] == "0"
    still = ("device_to_host", "host_to_device", "synchronisations", "allocations")
    assert {name: figures[name] for name in still} == dict.fromkeys(still, 0)
    assert figures["launches"] <= 20 and seed["nodes"] <= 100
    assert not any("cudnnCreate" in name or "cudnnGet" in name for name in seed["step"])  # plans are kept


def test_a_step_that_returns_its_loss_copies_nothing_else(report):
    figures = cuda_device.figures(report["fetched"]["step"])
    assert (figures["device_to_host"], figures["host_to_device"], figures["allocations"]) == (1, 0, 0)


def test_a_number_of_the_host_is_copied_only_when_it_changes(report):
    assert report["factor"] == [1, 0, 1, 0]


def test_a_profile_may_ask_for_tf32_a_search_or_determinism(report):
    policies = report["policies"]
    assert policies["tf32"]["math_default"] == 1 and "math_fma" not in policies["tf32"]
    assert policies["search"]["cudnnFindConvolutionForwardAlgorithmEx"] == 1
    assert policies["search"]["math_fma"] == 1
    assert "cuDNN has no deterministic algorithm within 1073741824 bytes" in policies["deterministic"]


def test_a_profile_in_strict_float32_stays_so_though_a_descriptor_lets_tf32_in(report):
    assert report["override"] == "0"
    assert report["policies"]["tf32"]["error"] < 1e-6 and report["policies"]["search"]["error"] < 1e-6


def test_convolutions_run_on_libgpuarrays_stream(report):
    assert report["streams"] == 1


def test_the_step_is_the_same_with_cuda_13(report, report_13):
    assert report_13["buffered"]["step"] == report["buffered"]["step"]


@pytest.mark.parametrize("cuda", PTX)
def test_ptxas_assembles_every_kernel_for_hopper(report, report_13, kernels, cuda, tmp_path):
    if not PTXAS[cuda].exists():
        required_device([f"there is no ptxas of CUDA {cuda}: pip install '.[test]'"])
    sources = {path.read_text() for path in kernels[cuda].glob("*.ptx")}
    assert len(sources) > 15
    # Kernels have names of their own only within a module: one file of all would not assemble.
    for i, source in enumerate(sources):
        assert f".version {PTX[cuda]}\n" in source and re.search(r"^\.target sm_90", source, re.MULTILINE)
        (tmp_path / f"{i}.ptx").write_text(source)
        command = [PTXAS[cuda], "-O0", "-arch=sm_90", str(tmp_path / f"{i}.ptx"), "-o", str(tmp_path / "binary")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
