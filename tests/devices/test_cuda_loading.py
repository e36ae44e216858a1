"""Shims answer for the plain names that libgpuarray opens; the environment may not contradict a profile."""

import subprocess
import types

import pytest

from fastvae.devices import cuda_loading
from fastvae.devices.findings import Finding
from fastvae.errors import ProfileError, StackError
from tests import cuda_device

OPENED = """
import ctypes, json
from fastvae.devices import cuda_libraries, cuda_loading
findings = cuda_libraries.find()
try:
    ctypes.CDLL("libnvrtc.so")
except OSError as error:
    print(error)
cuda_loading.load(findings)
version = ctypes.c_int(), ctypes.c_int()
ctypes.CDLL("libnvrtc.so").nvrtcVersion(ctypes.byref(version[0]), ctypes.byref(version[1]))
ctypes.CDLL("libcuda.so").cuInit, ctypes.CDLL("libcublas.so").cublasSgemm_v2
cuda_loading.load_nccl(cuda_libraries.nccl().path)
ctypes.CDLL("libnccl.so").ncclAllReduce
print(findings[1].version, "%d.%d" % (version[0].value, version[1].value))
"""


def test_plain_names_lead_to_the_chosen_libraries_even_after_a_failure(computing_device, python):
    environ = {**cuda_device.environ(computing_device), "FASTVAE_PROFILE": "cpu-blas"}
    done = python(OPENED, **environ)
    assert done.returncode == 0, done.stderr
    failure, versions = done.stdout.splitlines()
    assert "libnvrtc.so: cannot open" in failure
    chosen, answered = versions.split()
    assert chosen == answered


HANDLE = """
import ctypes
from fastvae.devices import cuda_libraries, cuda_loading
from tests import cuda_device
cuda_loading.load(cuda_libraries.find(), tf32=%s)
cublas, handle = ctypes.CDLL("libcublas.so"), ctypes.c_void_p()
assert cublas.cublasCreate_v2(ctypes.byref(handle)) == 0 and handle.value
cublas.cublasSgemm_v2(handle, 0, 0, 0, 0, 0, None, None, 1, None, 1, None, None, 1)
print(cuda_device.counts().get("cublas_tf32", 0), cuda_device.counts()["cublasSgemm_v2"])
"""


@pytest.mark.parametrize("tf32, told", [(False, "0"), (True, "1")])
def test_cublas_is_told_to_take_tensor_cores_only_where_the_profile_lets_it(computing_device, python, tf32, told):
    environ = {**cuda_device.environ(computing_device), "FASTVAE_PROFILE": "cpu-blas"}
    done = python(HANDLE % tf32, **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [told, "1"]


def test_a_library_that_does_not_load_is_an_error_in_one_line(tmp_path):
    path = str(tmp_path / "libcuda.so.1")
    with pytest.raises(StackError, match="libcuda.so.1 does not load .*fastvae devices"):
        cuda_loading.load([Finding("x", True, path=path)] * 4)


def test_a_compiler_that_fails_is_named(tmp_path):
    with pytest.raises(StackError, match="a shim for .* did not compile with 'false'"):
        cuda_loading._shim("libcuda.so", "/nowhere/libcuda.so.1", str(tmp_path), "false")


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("given", ["0", "1"])
def test_the_environment_may_not_contradict_the_profile(tf32, given):
    environ = {cuda_loading.OVERRIDE: given}
    if given == str(int(tf32)):
        assert cuda_loading.strictness(tf32, environ) == given
    else:
        with pytest.raises(ProfileError, match=f"{cuda_loading.OVERRIDE}='{given}' contradicts the profile"):
            cuda_loading.strictness(tf32, environ)


def test_a_carried_shim_needs_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_loading.sys, "prefix", str(tmp_path))
    opened = []
    monkeypatch.setattr(cuda_loading, "_open", lambda path: opened.append(path) or types.SimpleNamespace(cuInit=None))
    (tmp_path / cuda_loading.CARRIED).mkdir(parents=True)
    shim = tmp_path / cuda_loading.CARRIED / cuda_loading.shim_name("libcuda.so", "/driver/libcuda.so.1")
    cuda_loading.make_shim("libcuda.so", "libcuda.so.1", str(shim))
    cuda_loading._shim("libcuda.so", "/elsewhere/libcuda.so.1", str(tmp_path), "/no/compiler")
    assert opened == [str(shim), "libcuda.so"]
    said = subprocess.run(["readelf", "-d", str(shim)], capture_output=True, text=True).stdout
    assert "soname: [libcuda.so]" in said and "[libcuda.so.1]" in said
