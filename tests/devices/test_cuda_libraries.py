"""The driver and the libraries that go with it are chosen, or what is wrong is said; fakes stand in for NVIDIA's."""

import pytest

from fastvae.devices import cuda_libraries, cuda_search
from tests.cuda_device import build_driver
from tests.devices import cuda_fakes


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A folder with the driver of the tests' device, which answers what the environment says."""
    folder = tmp_path_factory.mktemp("driver")
    build_driver(folder)
    return folder


@pytest.fixture
def machine(driver, tmp_path, monkeypatch):
    """A machine with the driver, these answers, and no CUDA library but those that a test puts into a folder."""

    def machine(**answers):
        monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
        monkeypatch.setenv(cuda_search.VARIABLE, str(tmp_path / "cuda"))
        for name, value in answers.items():
            monkeypatch.setenv(f"TEST_DEVICE_{name}", str(value))
        monkeypatch.setattr(cuda_search, "SYSTEM", ())
        monkeypatch.setattr(cuda_search, "_wheels", lambda roots: [])
        cuda_libraries._find.cache_clear()
        return tmp_path / "cuda"

    yield machine
    cuda_libraries._find.cache_clear()


def test_a_driver_with_a_device_is_found(machine, driver):
    machine(DRIVER=12090, DEVICES=2)
    found = cuda_libraries.driver()
    assert found.finding.found and found.finding.path == str(driver / "libcuda.so.1")
    assert found.finding.version == "12.9; cuda0 is test device 0 (9.0); cuda1 is test device 1 (9.0)"
    assert (found.version, found.capability, found.devices) == ((12, 9), "90", 2)
    assert cuda_libraries.driver("cuda1").finding.found


@pytest.mark.parametrize(
    "name, answers, why, remedy",
    [
        ("cuda2", {}, "no device 'cuda2' (cuda0 is test device 0", "device=cuda0"),
        ("cuda:1", {}, "no device 'cuda:1'", "device=cuda0"),
        ("cuda", {"STATUS": 100}, "no CUDA-capable device", "nvidia-smi"),
        ("cuda", {"DEVICES": 0}, "sees no device", "nvidia-smi"),
        ("cuda", {"CAPABILITY": 100}, "capability 10.0 (Blackwell or later), but libgpuarray 0.7.6 stops", "Hopper"),
        ("cuda", {"DRIVER": 11040}, "too old: it supports CUDA 11.4, but cuBLAS 12 and cuDNN 9 need 12.0", "575"),
    ],
)
def test_what_is_wrong_with_the_device_is_said(machine, name, answers, why, remedy):
    machine(**answers)
    finding = cuda_libraries.driver(name).finding
    assert not finding.found and remedy in finding.remedy
    assert why in finding.why


def test_libraries_of_one_major_version_that_the_driver_serves_are_chosen(machine):
    folder = machine(DRIVER=12090)
    cuda_fakes.nvrtc(folder, 13, 0)
    chosen = [
        cuda_fakes.nvrtc(folder / "lib64", 12, 9),
        cuda_fakes.cublas(folder / "lib64", 12),
        cuda_fakes.cudnn(folder / "lib"),
    ]
    cuda_fakes.cublas(folder, 13)
    _, *found = cuda_libraries.find()
    assert [finding.path for finding in found] == chosen
    assert [finding.version for finding in found] == ["12.9", "12.4.5", "9.10.2"]
    assert not cuda_libraries.missing()


def test_a_newer_driver_takes_the_newer_set_only_if_it_is_complete(machine):
    folder = machine(DRIVER=13000)
    newer = cuda_fakes.nvrtc(folder, 13, 0), cuda_fakes.cublas(folder, 13), cuda_fakes.cudnn(folder, 91900, 13000)
    cuda_fakes.nvrtc(folder, 12, 9)
    older_blas = cuda_fakes.cublas(folder, 12)
    _, *found = cuda_libraries.find()
    assert tuple(finding.path for finding in found) == newer
    cuda_fakes.cudnn(folder)
    cuda_libraries._find.cache_clear()
    _, *found = cuda_libraries.find()
    assert [finding.version for finding in found] == ["12.9", "12.4.5", "9.10.2"] and found[1].path == older_blas


def _nvrtc(folder, **options):
    cuda_fakes.nvrtc(folder, 12, 9, **options)


@pytest.mark.parametrize(
    "answers, prepare, name, why, remedy",
    [
        (
            {"DRIVER": 12040},
            _nvrtc,
            "nvrtc",
            "nvrtc 12.9 (FOLDER/libnvrtc.so.12) is newer than the driver, which supports CUDA 12.4",
            "update the driver, or pip install 'nvidia-cuda-nvrtc-cu12<12.5'",
        ),
        (
            {"CAPABILITY": 90},
            lambda folder: _nvrtc(folder, status=5),
            "nvrtc",
            "nvrtc 12.9 (FOLDER/libnvrtc.so.12): it does not compile for compute_90 (NVRTC_ERROR_INVALID_OPTION)",
            "pip install --force-reinstall nvidia-cuda-nvrtc-cu12==12.9.86",
        ),
        (
            {},
            lambda folder: _nvrtc(folder, builtins=False),
            "nvrtc",
            "libnvrtc-builtins.so.12.9 is not beside it",
            "pip install --force-reinstall",
        ),
        (
            {},
            lambda folder: cuda_fakes.cudnn(folder, parts=("graph", "ops")),
            "cuDNN",
            "it is incomplete, libcudnn_cnn.so.9, libcudnn_engines_precompiled.so.9",
            "pip install --force-reinstall nvidia-cudnn-cu12==9.10.2.21",
        ),
        (
            {},
            lambda folder: (_nvrtc(folder), cuda_fakes.cudnn(folder, 91900, 13000)),
            "cuDNN",
            "cuDNN 9.19.0 (FOLDER/libcudnn.so.9) belongs to CUDA 13, and nvrtc to 12",
            "nvidia-cudnn-cu12==9.10.2.21",
        ),
        (
            {},
            lambda folder: cuda_fakes.cudnn(folder, 8907, 12000),
            "cuDNN",
            "cuDNN 8.9.7 (FOLDER/libcudnn.so.9) is not version 9",
            "nvidia-cudnn-cu12==9.10.2.21",
        ),
        (
            {},
            lambda folder: (cuda_fakes.nvrtc(folder, 13, 0), cuda_fakes.cublas(folder, 12)),
            "cuBLAS",
            "cuBLAS 12.4.5 (FOLDER/libcublas.so.12) belongs to CUDA 12, and nvrtc to 13",
            "pip install nvidia-cublas",
        ),
        ({}, lambda folder: None, "nvrtc", "libnvrtc.so.12 does not exist", "pip install nvidia-cuda-nvrtc-cu12=="),
        ({}, lambda folder: None, "cuBLAS", "libcublas.so.12 does not exist", "pip install nvidia-cublas-cu12=="),
    ],
)
def test_every_failure_names_the_library_its_versions_and_the_remedy(machine, answers, prepare, name, why, remedy):
    folder = machine(**answers)
    prepare(folder)
    (finding,) = (one for one in cuda_libraries.missing() if one.name == name)
    assert why.replace("FOLDER", str(folder)) in finding.why
    assert remedy in finding.remedy


def test_without_a_driver_it_alone_is_missing(monkeypatch):
    monkeypatch.setattr(cuda_libraries, "find_library", lambda name, folders=(): None)
    (finding,) = cuda_libraries.missing()
    assert (finding.name, finding.why) == ("CUDA driver", "libcuda.so.1 does not exist")


def test_nccl_is_found_like_the_others_and_missed_with_its_remedy(machine):
    folder = machine()
    missing = cuda_libraries.nccl()
    assert not missing.found and missing.why == "libnccl.so.2 does not exist"
    assert "pip install nvidia-nccl-cu12==2.27.5" in missing.remedy
    path = cuda_fakes.nccl(folder / "lib")
    assert str(cuda_libraries.nccl()) == f"NCCL: found 2.27.5 ({path})"
    (folder / "lib/libnccl.so.2").write_bytes(b"")
    broken = cuda_libraries.nccl()
    assert "file too short" in broken.why and "--force-reinstall nvidia-nccl-cu12==2.27.5" in broken.remedy
