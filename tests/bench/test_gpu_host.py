"""A report's time, its processes, and what it looks for on a host."""

import os
import sys
import time
import types

import pytest

from bench import gpu_host
from bench.gpu_host import Budget, Child, CompileFolders, OutOfTime, ended, torch_python
from bench.pairing import WorkerFailed


def test_what_is_left_is_told_and_too_little_is_refused():
    budget = Budget(minutes=0.1)
    budget.check()
    with pytest.raises(OutOfTime, match="left out: 0 s of 6 s were over"):
        budget.check(until=0.4)
    budget.began -= 100
    assert budget.left() < -90


def test_a_block_that_takes_too_long_ends_with_its_process():
    killed = []
    process = types.SimpleNamespace(kill=lambda: killed.append(1))
    with pytest.raises(OutOfTime, match="its time was over"):
        with ended(process, 0.01):
            while not killed:
                time.sleep(0.01)
            raise ValueError("what a dead process causes")
    with pytest.raises(ValueError, match="its own"):
        with ended(process, 60):
            raise ValueError("its own")
    assert killed == [1]


@pytest.fixture
def child(tmp_path, monkeypatch):
    """A child process that runs a few lines."""
    monkeypatch.setattr(gpu_host, "ROOT", tmp_path)
    children = []

    def child(body):
        (tmp_path / "few_lines.py").write_text(body)
        children.append(Child("few_lines", {"GIVEN": "1"}, "an argument"))
        return children[-1]

    yield child
    for one in children:
        one.kill()


def test_a_child_s_lines_come_as_it_prints_them(child):
    one = child(
        "import json, os, sys\nprint(json.dumps('ready'), flush=True)\nsys.stdin.readline()\n"
        "print(json.dumps([os.environ['GIVEN'], sys.argv[1:]]))"
    )
    one.ready(60)
    one.go()
    assert [*one.lines(60)] == [["1", ["an argument"]]]


def test_a_child_that_fails_says_why(child):
    with pytest.raises(WorkerFailed, match="^few_lines ended with status 1: ValueError: because$"):
        child("raise ValueError('because')").ready(60)


def test_a_child_that_takes_too_long_is_killed_and_what_it_printed_counts(child):
    lines = child("import time\nprint(1, flush=True)\ntime.sleep(60)").lines(1)
    assert next(lines) == 1
    with pytest.raises(OutOfTime):
        next(lines)


def interpreter(path, says):
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


def test_an_interpreter_with_pytorch_is_found_with_cuda_s_libraries(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert torch_python(None) == (None, [], "no python3 here has it; give --torch-python PATH")
    without = interpreter(tmp_path / "python3", "[false, []]")
    assert torch_python(without) == (None, [], f"{without} does not have it")
    assert torch_python("/no/python")[2] == "no interpreter /no/python"
    found = interpreter(tmp_path / "python", '[true, ["/site"]]')
    assert torch_python(None) == (found, ["/site"], "")


def test_the_libraries_are_where_the_interpreter_finds_its_packages(tmp_path, monkeypatch):
    for folder in ("nvidia/cudnn/lib", "torch/lib"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "torch/__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path, folders, _ = torch_python(sys.executable)
    assert path == sys.executable and {str(tmp_path), str(tmp_path / "torch" / "lib")} <= set(folders)


def test_in_a_bundle_each_process_has_a_compile_folder_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "compile/compiled/cutils_ext").mkdir(parents=True)
    (tmp_path / "compile/gpuarray_kernels_nvrtc_13.0").mkdir()
    monkeypatch.setattr(gpu_host, "SHARE", tmp_path)
    monkeypatch.setenv("THEANO_FLAGS", "allow_gc=True")
    folders = CompileFolders()
    first, second = folders.environ("cuda", cudnn_search="true"), folders.environ("cuda-tf32")
    assert first["FASTVAE_PROFILE"] == "cuda" and "allow_gc=True,fastvae.cudnn_search=true," in first["THEANO_FLAGS"]
    places = [one["THEANO_FLAGS"].split("base_compiledir=")[1].split(",")[0] for one in (first, second)]
    assert places[0] != places[1] and all(os.path.isdir(f"{place}/compiled/cutils_ext") for place in places)
    assert all(os.path.islink(f"{place}/gpuarray_kernels_nvrtc_13.0") for place in places)
    folders.close()
    assert os.listdir(tmp_path / "compile/compiled") == ["cutils_ext"]
    assert not any(map(os.path.exists, places))


def test_elsewhere_all_processes_share_one(monkeypatch):
    monkeypatch.setenv("THEANO_FLAGS", "base_compiledir=/anywhere")
    folders = CompileFolders()
    assert folders.environ("cuda") == {"FASTVAE_PROFILE": "cuda", "THEANO_FLAGS": "base_compiledir=/anywhere"}
    folders.close()
