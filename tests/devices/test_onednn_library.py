"""`missing` says why oneDNN cannot be used, without theano."""

import builtins
import io
import os

from fastvae.devices import onednn_library


def test_this_environment_has_it():
    found = onednn_library.locate()
    assert os.path.exists(found.library) and os.path.exists(found.include + "/oneapi/dnnl/dnnl.h")
    assert found.version == "3.2.0"
    assert onednn_library.missing() is None


def test_missing_library_and_headers_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(onednn_library.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(onednn_library.site, "getuserbase", lambda: None)
    reason = str(onednn_library.missing())
    assert reason.startswith(f"oneDNN's libdnnl.so.3 is not in {tmp_path}/lib: pip install onednn-cpu-gomp")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libdnnl.so.3").touch()
    reason = str(onednn_library.missing())
    assert reason.startswith(f"oneDNN's oneapi/dnnl/dnnl.h is not in {tmp_path}/include: pip install")


def test_other_versions_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(onednn_library.sys, "prefix", str(tmp_path))
    for name in ("lib/libdnnl.so.3", "include/oneapi/dnnl/dnnl.h"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    header = tmp_path / "include/oneapi/dnnl/dnnl_version.h"
    header.write_text("#define DNNL_VERSION_MAJOR 2\n#define DNNL_VERSION_MINOR 7\n#define DNNL_VERSION_PATCH 1\n")
    assert "are version 2.7.1, but version 3 is needed" in str(onednn_library.missing())


def test_processor_without_avx2_is_named(monkeypatch):
    opened = builtins.open
    cpuinfo = "processor : 0\nflags : fpu sse sse2 avx\n"
    monkeypatch.setattr(
        builtins,
        "open",
        lambda path, *a, **k: io.StringIO(cpuinfo) if path == "/proc/cpuinfo" else opened(path, *a, **k),
    )
    assert "lacks AVX2" in str(onednn_library.missing())


def test_it_does_not_import_theano(python):
    code = "import sys; from fastvae import backends; print(backends.load('cpu').missing(), 'theano' in sys.modules)"
    result = python("import sys; sys.orig_argv = ['fastvae']; sys.argv = ['fastvae']\n" + code)
    assert result.stdout.split() == ["None", "False"], result.stderr
