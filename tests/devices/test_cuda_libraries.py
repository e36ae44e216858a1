"""CUDA's pieces are told apart; a toy driver stands in for NVIDIA's."""
import subprocess

import pytest

from fastvae.devices import cuda_libraries, findings

DRIVER = """
#include <cstdlib>
#include <cstdio>
static int number(const char *name) { const char *text = getenv(name); return text ? atoi(text) : 0; }
extern "C" {
int cuInit(unsigned) { return number("TOY_STATUS"); }
int cuGetErrorString(int status, const char **text) { *text = status ? "no CUDA-capable device" : 0; return 0; }
int cuDriverGetVersion(int *version) { *version = 12090; return 0; }
int cuDeviceGetCount(int *count) { *count = number("TOY_COUNT"); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "Toy %d", device); return 0; }
int cuDeviceGetAttribute(int *value, int key, int) { *value = key == 75 ? number("TOY_MAJOR") : 0; return 0; }
}
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A folder with a libcuda.so.1 that answers what the environment says."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.cpp").write_text(DRIVER)
    subprocess.run(["g++", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", folder / "driver.cpp"], check=True)
    return folder


@pytest.fixture
def machine(driver, tmp_path, monkeypatch):
    """Put named files beside the toy driver on the loader's path, and set its answers."""

    def machine(*files, **answers):
        for name in files:
            (tmp_path / name).touch()
        monkeypatch.setenv("LD_LIBRARY_PATH", f"{driver}:{tmp_path}")
        for name, value in {"STATUS": 0, "COUNT": 2, "MAJOR": 9, **answers}.items():
            monkeypatch.setenv(f"TOY_{name}", str(value))
        return tmp_path

    return machine


def test_a_driver_with_a_device_is_found(machine, driver):
    machine("libcuda.so")
    finding = cuda_libraries.cuda()
    assert finding.found and finding.path == str(driver / "libcuda.so.1")
    assert finding.version == "12.9; cuda0 is Toy 0 (9.0); cuda1 is Toy 1 (9.0)"
    assert cuda_libraries.cuda("cuda1").found


@pytest.mark.parametrize(
    "device, answers, why",
    [
        ("cuda2", {}, "no device 'cuda2' (cuda0 is Toy 0"),
        ("cuda:1", {}, "no device 'cuda:1'"),
        ("cuda", {"STATUS": 100}, "no CUDA-capable device"),
        ("cuda", {"COUNT": 0}, "sees no device"),
        ("cuda", {"MAJOR": 10}, "capability 10.0, and libgpuarray 0.7.6 stops"),
    ],
)
def test_what_is_wrong_with_the_device_is_said(machine, device, answers, why):
    machine("libcuda.so", **answers)
    finding = cuda_libraries.cuda(device)
    assert not finding.found and finding.remedy
    assert why in finding.why


def test_a_library_under_a_versioned_name_only_is_missing_and_located(machine):
    folder = machine("libnvrtc.so.12", "libcublas.so.12")
    for check, name in (
        (cuda_libraries.cuda, "libcuda.so"),
        (cuda_libraries.nvrtc, "libnvrtc.so"),
        (cuda_libraries.cublas, "libcublas.so"),
    ):
        finding = check()
        assert not finding.found and f"opens {name}" in finding.why
        assert f"link {name} -> {finding.path}" in finding.remedy
        (folder / name).symlink_to(finding.path)
        assert check().found


def test_wheels_are_found_with_their_version(monkeypatch, tmp_path):
    for package, name in (("cuda_nvrtc", "libnvrtc.so.12"), ("cudnn", "libcudnn.so.9")):
        (tmp_path / "nvidia" / package / "lib").mkdir(parents=True)
        (tmp_path / "nvidia" / package / "lib" / name).touch()
    monkeypatch.setattr(cuda_libraries.sysconfig, "get_paths", lambda: {"purelib": str(tmp_path)})
    monkeypatch.setattr(cuda_libraries.importlib.metadata, "version", {"nvidia-cudnn-cu12": "9.10.2.21"}.__getitem__)
    monkeypatch.setattr(cuda_libraries, "find_library", lambda name, folders=(): _among(folders, name))
    found = findings.Finding("cuDNN", True, "9.10.2.21", f"{tmp_path}/nvidia/cudnn/lib/libcudnn.so.9")
    assert cuda_libraries.cudnn() == found
    monkeypatch.setattr(cuda_libraries.importlib.metadata, "version", lambda name: "12.9.86")
    nvrtc = cuda_libraries.nvrtc()
    assert (nvrtc.found, nvrtc.version) == (False, "12.9.86")
    assert nvrtc.path == f"{tmp_path}/nvidia/cuda_nvrtc/lib/libnvrtc.so.12"


def _among(folders, name):
    return next((f"{folder}/{name}" for folder in folders if "cudnn" in folder and "cudnn" in name), None)


def test_nothing_there_names_every_piece(monkeypatch):
    monkeypatch.setattr(cuda_libraries, "find_library", lambda name, folders=(): None)
    monkeypatch.setattr(cuda_libraries, "_wheel_folders", list)
    why = [check().why for check in cuda_libraries.CHECKS]
    names = ("libcuda.so.1", "libnvrtc.so", "libcublas.so", "libcudnn.so.9")
    assert why == [f"{name} does not exist" for name in names]
