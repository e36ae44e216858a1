"""Precompiled headers change how long a cold start takes, and nothing else."""

import collections
import subprocess
import types

import pytest
import theano
from theano.gof.cmodule import GCC_compiler, std_include_dirs

from fastvae.compilation import precompiled

COLD = """
import fastvae, theano, numpy as np, theano.tensor as tt
from fastvae.compilation import precompiled
precompiled.PAYS = 2
commands = []
run = theano.gof.cmodule.output_subprocess_Popen
# gcc fails when a header lies there and cannot be used
strict = lambda command: command.insert(1, "-Werror=invalid-pch") or commands.append(command) or run(command)
theano.gof.cmodule.output_subprocess_Popen = strict
x = tt.fvector()
for expression in (tt.exp(x) + 1, tt.sin(x) * x, tt.sqr(x) / 3):
    theano.function([x], expression)(np.ones(2, "f"))
headers = [[word for word in command if "/fastvae_" in word and word.endswith(".h")] for command in commands]
print(sum(map(bool, headers)), len(commands))
print(float(theano.function([x], tt.exp(x).sum())(np.zeros(3, "f"))))
"""


def test_from_an_empty_cache_all_but_the_first_modules_take_the_header(python, tmp_path):
    done = python(COLD, THEANO_FLAGS=f"base_compiledir={tmp_path / 'empty'}", FASTVAE_PROFILE="cpu-blas")
    assert done.returncode == 0, done.stderr
    counts, value = done.stdout.splitlines()
    with_header, modules = map(int, counts.split())
    assert 1 <= with_header < modules
    assert float(value) == 3.0
    assert list((tmp_path / "empty").glob("*/fastvae_*.h.gch"))


@pytest.fixture
def header(monkeypatch, tmp_path):
    """`precompiled._header` for theano's own flags, keeping its files in a folder of the test."""
    monkeypatch.setattr(precompiled, "config", types.SimpleNamespace(cxx=theano.config.cxx, compiledir=str(tmp_path)))
    monkeypatch.setattr(precompiled, "_compiled_with", collections.Counter())
    monkeypatch.setattr(precompiled, "PAYS", 2)
    flags = [*GCC_compiler.compile_args(), "-fPIC"]
    return flags, lambda: precompiled._header(flags, std_include_dirs())


def test_a_header_is_made_when_its_flags_have_been_used_often_enough(header):
    flags, make = header
    assert make() is None
    path = make()
    assert path is not None and make() == path


def test_flags_of_the_linker_need_no_header_of_their_own(header):
    flags, make = header
    make()
    linked = [*flags, "-Wl,-rpath,/usr/lib"]
    assert precompiled._header(linked, std_include_dirs()) == make() is not None


@pytest.mark.parametrize("more, taken", [([], True), (["-fno-exceptions"], False)])
def test_gcc_takes_it_only_under_the_same_flags(header, tmp_path, more, taken):
    flags, make = header
    make()
    path = make()
    source = tmp_path / "module.cpp"
    source.write_text("int answer() { return 42; }\n")
    includes = [f"-I{folder}" for folder in std_include_dirs()]
    options = ["-g", *flags, *includes, "-fvisibility=hidden", "-Werror=invalid-pch", "-include", path, *more]
    done = subprocess.run([theano.config.cxx, *options, "-c", source, "-o", tmp_path / "module.o"], capture_output=True)
    assert (done.returncode == 0) is taken, done.stderr


def test_a_header_that_does_not_compile_is_said_and_done_without(header, monkeypatch, caplog):
    _, make = header
    monkeypatch.setattr(precompiled, "HEADERS", ("<no_such_header.h>",))
    assert make() is None and make() is None and make() is None
    (record,) = caplog.records
    assert "headers are not precompiled" in record.getMessage() and "no_such_header.h" in record.getMessage()
