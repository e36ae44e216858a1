"""A compile folder that several processes or processors of different kinds share."""

import json
import os
import shutil
import subprocess
import sys

import pytest

# A function's value, and the compiled files in this process. `other` is a processor that is told from this one.
PROGRAM = """
import json, os, sys
import fastvae
from fastvae.compilation import processor
if "OTHER" in os.environ:
    processor.kind = lambda: "other"
import numpy as np, theano, theano.tensor as tt
x = tt.fvector()
value = theano.function([x], [tt.exp(x) + 1, tt.max(x), x[1:2].sum()])(np.zeros(3, "f"))
from theano.gof.cmodule import GCC_compiler
files = {line.split()[-1] for line in open("/proc/self/maps") if theano.config.compiledir in line}
print(json.dumps(dict(values=[float(v.sum()) for v in value], files=sorted(files), flags=GCC_compiler.compile_args())))
"""
# A g++ that logs its arguments, and takes another processor for the one at hand where the environment says so.
GXX = """#!/bin/sh
echo "$@" >> {log}
if [ -n "$OTHER" ]; then
    for word; do
        shift
        [ "$word" = -march=native ] && word=-march=x86-64-v2
        set -- "$@" "$word"
    done
fi
exec {gxx} "$@"
"""


@pytest.fixture
def environ(tmp_path):
    (tmp_path / "bin").mkdir()
    gxx = tmp_path / "bin" / "g++"
    gxx.write_text(GXX.format(log=tmp_path / "log", gxx=shutil.which("g++")))
    gxx.chmod(0o755)
    flags = f"base_compiledir={tmp_path / 'empty'},compile.wait=1,gcc.cxxflags=-O0"
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "FASTVAE_PROFILE": "cpu-blas", "THEANO_FLAGS": flags, "PATH": path}


def started(environ, **more):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env={**environ, **more}, text=True, stdout=pipe, stderr=pipe)


def ended(process):
    out, error = process.communicate()
    assert process.returncode == 0, error[-3000:]
    return json.loads(out.splitlines()[-1])


def test_three_processes_that_start_at_once_on_an_empty_folder_all_succeed(environ):
    found = [ended(process) for process in [started(environ) for _ in range(3)]]
    assert all(each["values"] == [6.0, 0.0, 0.0] for each in found)
    assert found[0]["files"] == found[1]["files"] == found[2]["files"], "each module was compiled once"


def test_another_processor_runs_nothing_that_was_compiled_for_this_ones_instructions(environ, tmp_path):
    here = ended(started(environ))
    commands = (tmp_path / "log").read_text().splitlines()
    other = ended(started(environ, OTHER="1"))
    assert here["values"] == other["values"]
    assert "-march=x86-64-v2" in other["flags"] and not {"-mavx", "-mavx2", "-mavx512f"} & set(other["flags"])
    both = set(here["files"]) & set(other["files"])
    assert {os.path.basename(file) for file in both} == {"cutils_ext.so", "lazylinker_ext.so"}
    made = [command for command in commands if any(f"-o {file}" in command for file in both)]
    assert len(made) == 2 and not any("-march" in command or "-mavx" in command for command in made)
    assert len(here["files"]) == len(other["files"]) > 2
    assert ended(started(environ))["files"] == here["files"]


def test_one_that_was_compiled_for_this_processor_alone_is_replaced(environ, tmp_path):
    ended(started(environ))
    (mark,) = (tmp_path / "empty").rglob("for_any_processor")
    mark.unlink()
    (tmp_path / "log").unlink()
    ended(started(environ))
    assert mark.exists() and (tmp_path / "log").read_text().count("lazylinker_ext.so") == 1
