"""Every check tells found from missing, and names what to install."""

import os
import subprocess
import sys
import sysconfig

import pytest
import scipy
import threadpoolctl

from fastvae import devices
from fastvae.devices import debian_pygpu, onednn_library
from tests.conftest import required_device

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def bare(tmp_path, monkeypatch, finders):
    """A machine on which no library and no package of the system can be found."""
    monkeypatch.setattr(devices, "find_library", lambda name, folders=(): None)
    monkeypatch.setattr(devices, "VENDORS", tmp_path)
    monkeypatch.setattr(debian_pygpu, "DIST_PACKAGES", tmp_path)
    monkeypatch.setattr(debian_pygpu.built_for_this_python, "__defaults__", (tmp_path,))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not os.path.isdir(os.path.join(p, "pygpu"))])
    return tmp_path


def test_the_compiler_is_found_with_its_version_or_named(tmp_path):
    finding = devices.compiler()
    gcc = subprocess.run(["g++", "--version"], capture_output=True, text=True).stdout
    assert finding.found and finding.version in gcc
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    broken.chmod(0o755)
    for cxx, why in (("no-such-g++", "not an executable"), ("", "cxx is empty"), (str(broken), "out of order")):
        finding = devices.compiler(cxx)
        assert not finding.found and why in finding.why and "apt-get install g++" in finding.remedy


def test_missing_headers_name_the_package_of_this_python(monkeypatch):
    assert os.path.isfile(devices.headers().path)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": "/no/include"})
    finding = devices.headers()
    assert not finding.found and finding.remedy == f"apt-get install {PYTHON}-dev"
    assert "/no/include/Python.h" in finding.why


def test_the_blas_is_a_float32_one_of_the_stated_version():
    finding = devices.blas()
    (library,) = [p for p in threadpoolctl.ThreadpoolController().lib_controllers if p.filepath == finding.path]
    assert finding.version == f"OpenBLAS {library.version.removesuffix('.dev')}"
    assert hasattr(library.dynlib, "sgemm_") or library.dynlib.scipy_sgemm_


def test_without_wheels_the_systems_blas_or_a_remedy(bare, monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    finding = devices.blas()
    assert not finding.found and "libopenblas-dev" in finding.remedy
    assert f"pip install scipy=={scipy.__version__}," in finding.remedy
    monkeypatch.setattr(devices, "find_library", lambda name: f"/usr/lib/{name}")
    assert devices.blas().path == "/usr/lib/libopenblas.so"


def test_onednn_is_the_one_that_the_backend_takes(monkeypatch):
    finding = devices.onednn()
    assert finding.found and finding.version == "3.2.0" and finding.path.endswith("libdnnl.so.3")
    absent = onednn_library.Missing("it is not there", "install it")
    monkeypatch.setattr(onednn_library, "missing", lambda: absent)
    assert str(devices.onednn()) == "oneDNN: it is not there; install it, or take the profile 'cpu-blas'"


def test_each_missing_package_of_opencl_is_named_by_itself(bare):
    remedies = [check().remedy for check in (devices.pygpu, devices.gpuarray_headers, devices.clblast, devices.opencl)]
    packages = ["python3-pygpu", "libgpuarray-dev", "libclblast-dev", "ocl-icd-opencl-dev pocl-opencl-icd"]
    elsewhere = " (Debian 12; elsewhere `fastvae build-pygpu`, without network a bundle: docs/tutorials/gpus.md)"
    ends = (elsewhere, elsewhere, "", "")
    assert remedies == [f"apt-get install --no-install-recommends {p}{end}" for p, end in zip(packages, ends)]
    (bare / "pocl.icd").touch()
    assert devices.opencl().remedy.endswith(" ocl-icd-opencl-dev")


def test_an_opencl_without_a_driver_names_pocl(monkeypatch, tmp_path):
    loader = devices.find_library("libOpenCL.so")
    required_device([] if loader else ["apt-get install --no-install-recommends ocl-icd-opencl-dev"])
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    finding = devices.opencl()
    assert not finding.found and finding.path == loader and finding.remedy.endswith("pocl-opencl-icd")


def test_a_pygpu_for_another_python_or_without_mako_is_said(bare, monkeypatch):
    (bare / "pygpu").mkdir()
    (bare / "pygpu" / "_version.py").write_text('{"version": "0.7.6"}')
    finding = devices.pygpu()
    assert not finding.found and f"not built for Python {PYTHON[6:]}" in finding.why
    assert "fastvae build-pygpu" in finding.remedy
    monkeypatch.setattr(debian_pygpu, "built_for_this_python", lambda: True)
    assert devices.pygpu().remedy.endswith("python3-mako")
    (bare / "mako").mkdir()
    (bare / "markupsafe").mkdir()
    assert devices.pygpu() == devices.Finding("pygpu", True, "0.7.6", str(bare / "pygpu"))


@pytest.mark.parametrize("made", ["pygpu/__init__.py", "pygpu.py", "pygpu/data"])
def test_something_else_that_is_called_pygpu_is_not_taken_for_it(bare, monkeypatch, made):
    path = bare / "path" / made
    path.parent.mkdir(parents=True)
    path.touch()
    monkeypatch.setattr(sys, "path", [str(bare / "path")])
    finding = devices.pygpu()
    assert not finding.found and finding.remedy
    assert ("another module of that name" in finding.why) == (path.suffix == ".py")


@pytest.mark.parametrize(
    "answer, device, expected",
    [
        ('[["P", ["d"]], ["Q", ["e", "f"]]]', None, "opencl0:0 is P, d; opencl1:0 is Q, e; opencl1:1 is Q, f"),
        ('[["P", ["d"]], ["Q", ["e", "f"]]]', "opencl1:1", "Q, f"),
        ('[["P", []], ["Q", ["e"]]]', "opencl0:0", "(opencl1:0 is Q, e); THEANO_FLAGS=device=opencl1:0"),
        ('[["P", []]]', None, "no platform with a device"),
        ("[]", "opencl0:0", "pocl-opencl-icd"),
    ],
)
def test_opencl_devices_are_counted_as_libgpuarray_counts_them(monkeypatch, answer, device, expected):
    monkeypatch.setattr(devices, "find_library", lambda name: f"/lib/{name}")
    monkeypatch.setattr(devices, "ask", lambda probe: (answer, ""))
    assert expected in str(devices.opencl(device))


def test_what_a_device_misses_is_what_its_checks_miss(monkeypatch):
    monkeypatch.setattr(devices, "pygpu", lambda: devices.Finding("pygpu", False))
    monkeypatch.setattr(devices, "gpuarray_headers", lambda: devices.Finding("libgpuarray", True))
    monkeypatch.setattr(devices, "clblast", lambda: devices.Finding("CLBlast", False))
    monkeypatch.setattr(devices, "opencl", lambda device: devices.Finding(f"OpenCL {device}", False))
    assert [finding.name for finding in devices.missing_for("opencl1:0")] == ["pygpu", "CLBlast", "OpenCL opencl1:0"]
    assert devices.missing_for("opencl")[-1].name == "OpenCL None"
    assert devices.missing_for("cpu") == []


def test_an_opencl_that_fails_is_reported(monkeypatch):
    monkeypatch.setattr(devices, "find_library", lambda name: f"/lib/{name}")
    monkeypatch.setattr(devices, "ask", lambda probe: ("", "asking the driver failed (exit status -11)"))
    assert "exit status -11" in devices.opencl().why and not devices.opencl().found


def test_the_report_has_every_check_and_every_miss_a_remedy():
    report = devices.report()
    assert [finding.name for finding in report] == [
        *("g++", "Python's headers", "BLAS", "oneDNN", "pygpu", "libgpuarray", "CLBlast", "OpenCL"),
        *("CUDA driver", "nvrtc", "cuBLAS", "cuDNN", "NCCL"),
    ]
    for finding in report:
        assert finding.found or (finding.why and finding.remedy), finding
        assert "\n" not in str(finding)
    assert devices.describe().splitlines() == [str(finding) for finding in report]


def test_reporting_imports_nothing_heavy(python):
    code = "import sys; sys.argv = ['fastvae']\nfrom fastvae import devices, profiles\n"
    code += "devices.report(); profiles.listing()\n"
    done = python(code + "print([m for m in ('numpy', 'scipy', 'theano', 'pymc3', 'pygpu') if m in sys.modules])")
    assert done.stdout == "[]\n", done.stderr
