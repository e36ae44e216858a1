"""The processor's instructions are found out once, by one thread at a time, and never those of another processor."""

import threading
import time
import types

import pytest
from theano.gof.cmodule import GCC_compiler

from fastvae.compilation import processor


@pytest.fixture
def probes(monkeypatch, tmp_path):
    """Theano's probe in a compile folder of the test: how often it ran; it takes its time as the real one does."""
    made = []

    def compile_args(march_flags=True):
        if march_flags and GCC_compiler.march_flags is None:
            GCC_compiler.march_flags = []
            time.sleep(0.2)
            made.append(processor.kind())
            GCC_compiler.march_flags = ["-march=this"]
        return ["-O3", *(GCC_compiler.march_flags or []) * march_flags]

    config = types.SimpleNamespace(
        compiledir=str(tmp_path), cxx="g++", gcc=types.SimpleNamespace(cxxflags="-funroll-loops")
    )
    monkeypatch.setattr(processor, "config", config)
    monkeypatch.setattr(GCC_compiler, "march_flags", None)
    monkeypatch.setattr(GCC_compiler, "compile_args", staticmethod(compile_args))
    processor.install()
    return made


def test_threads_that_ask_at_once_all_get_the_flags(probes):
    found = []
    threads = [threading.Thread(target=lambda: found.append(GCC_compiler.compile_args())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["-O3", "-march=this"]] * 4 and len(probes) == 1


def test_the_next_process_finds_them_in_the_compile_folder_and_another_processor_does_not(probes, monkeypatch):
    GCC_compiler.compile_args()
    GCC_compiler.march_flags = None
    assert GCC_compiler.compile_args() == ["-O3", "-march=this"] and len(probes) == 1
    monkeypatch.setattr(processor, "kind", lambda: "x86_64 avx2")
    GCC_compiler.march_flags = None
    GCC_compiler.compile_args()
    assert len(probes) == 2


def test_a_file_that_is_not_whole_is_not_believed(probes, tmp_path):
    GCC_compiler.compile_args()
    (file,) = tmp_path.iterdir()
    file.write_text("[")
    GCC_compiler.march_flags = None
    assert GCC_compiler.compile_args() == ["-O3", "-march=this"] and len(probes) == 2


def test_a_kind_is_the_set_of_features(tmp_path):
    def kind(text):
        (tmp_path / "cpuinfo").write_text(text)
        return processor.kind(str(tmp_path / "cpuinfo"))

    assert kind("model name\t: A\nflags\t\t: fpu avx2\n") == kind("flags\t\t: avx2 fpu\nmodel name\t: B\n")
    assert kind("flags\t\t: fpu avx2\n") != kind("flags\t\t: fpu avx2 avx512f\n")
    assert processor.kind(str(tmp_path / "none")) == kind("") != processor.kind()
